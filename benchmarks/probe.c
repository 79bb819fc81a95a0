/* The machine's own limits: fused multiply-adds in registers. Called from threads by probe.py. */
#if defined(__AVX512F__)
#define LANES 16
#define TILES 16
#elif defined(__AVX__)
#define LANES 8
#define TILES 12
#else
#define LANES 4
#define TILES 12
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));

/* Runs `rounds` of TILES independent fused multiply-adds; returns the floating-point operations done. */
double fma_loop(long rounds, float *sink) {
    vec acc[TILES], a = {0}, b = {0};
    a += 0.999f;
    b += 0.001f;
    for (int i = 0; i < TILES; i++) acc[i] = a + (float)i;
    for (long r = 0; r < rounds; r++) {
#pragma GCC unroll 16
        for (int i = 0; i < TILES; i++) acc[i] = acc[i] * a + b;
    }
    vec sum = {0};
    for (int i = 0; i < TILES; i++) sum += acc[i];
    *sink = sum[0];
    return 2.0 * LANES * TILES * (double)rounds;
}

