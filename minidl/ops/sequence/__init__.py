"""Operations on sequences: recurrent layers, attention."""
