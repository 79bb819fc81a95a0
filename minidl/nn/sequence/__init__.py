"""Layers of sequences: RNN, LSTM, GRU, MultiheadAttention."""
