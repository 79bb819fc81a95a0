"""Which of the compiled levels this processor and operating system can run."""

cdef extern from *:
    """
    #if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
    /* The compiler's run-time checks also ask the operating system whether it saves the wide registers. */
    static int minidl_cpu_level(void) {
        __builtin_cpu_init();
        if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
              && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))) return 0;
        if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
              && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
              && __builtin_cpu_supports("avx512vl"))) return 1;
        return 2;
    }
    #else
    static int minidl_cpu_level(void) { return 0; }
    #endif
    """
    int minidl_cpu_level() noexcept nogil


def best_level() -> str:
    """The highest x86-64 level that this machine runs: "baseline", "v3" or "v4"."""
    return ("baseline", "v3", "v4")[minidl_cpu_level()]
