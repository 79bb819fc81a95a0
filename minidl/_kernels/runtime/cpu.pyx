"""Which of the compiled levels this processor and operating system can run.

The words of the cpuid instruction are read in C, in the way of each compiler; what they mean is written here once.
"""

cdef extern from *:
    """
    #if defined(_M_X64) || defined(_M_IX86) || defined(__x86_64__) || defined(__i386__)
      #define CPU_IS_X86 1
      #ifdef _MSC_VER
        #include <intrin.h>
        static void cpu_words(unsigned leaf, unsigned words[4]) {
          __cpuidex((int*)words, (int)leaf, 0);
        }
        static unsigned cpu_saved(void) { return (unsigned)_xgetbv(0); }
      #else
        #include <cpuid.h>
        static void cpu_words(unsigned leaf, unsigned words[4]) {
          __cpuid_count(leaf, 0, words[0], words[1], words[2], words[3]);
        }
        static unsigned cpu_saved(void) {
          unsigned low, high;
          __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
          return low;
        }
      #endif
    #else
      #define CPU_IS_X86 0
      static void cpu_words(unsigned leaf, unsigned words[4]) {
        (void)leaf;
        words[0] = words[1] = words[2] = words[3] = 0;
      }
      static unsigned cpu_saved(void) { return 0; }
    #endif
    #ifdef __APPLE__
      #define CPU_SAVES_ON_USE 0xE0u /* macOS begins to save the AVX-512 registers when they are first used. */
    #else
      #define CPU_SAVES_ON_USE 0u
    #endif
    """
    const bint CPU_IS_X86
    const unsigned CPU_SAVES_ON_USE
    void cpu_words(unsigned leaf, unsigned* words)
    unsigned cpu_saved()


def bits(*numbers):
    return sum(1 << number for number in numbers)


# What the x86-64 psABI asks of each level, in the order of words(): ecx of leaf 1, ebx of leaf 7, ecx of leaf
# 0x80000001, and the registers that the operating system saves (XCR0). A processor without lzcnt runs it as bsr, which
# gives another result: such a bit may not be left out because "nobody has AVX2 without it" (a virtual machine may).
OSXSAVE = bits(27)
NEEDS = {
    "v3": (
        OSXSAVE | bits(12, 22, 28, 29),  # fma, movbe, avx, f16c
        bits(3, 5, 8),                   # bmi1, avx2, bmi2
        bits(5),                         # lzcnt
        bits(1, 2),                      # xmm, ymm
    ),
    "v4": (
        0,
        bits(16, 17, 28, 30, 31),        # avx512f, dq, cd, bw, vl
        0,
        bits(5, 6, 7),                   # masks, zmm0 to 15, zmm16 to 31
    ),
}


def level_of(*words):
    """The highest level all of whose bits, and those of the levels below it, are in the words."""
    level = "baseline"
    for name, needs in NEEDS.items():
        if any(need & ~word for need, word in zip(needs, words, strict=True)):
            break
        level = name
    return level


def words():
    """This machine's words, as level_of() takes them; 0 is what a processor or system does not have."""
    cdef unsigned basic[4]
    cdef unsigned extended[4]
    cdef unsigned far[4]
    if not CPU_IS_X86:
        return 0, 0, 0, 0
    cpu_words(0, basic)
    highest = basic[0]
    cpu_words(0x80000000, far)
    highest_far = far[0]
    cpu_words(1, basic)
    if highest < 7 or highest_far < 0x80000001:
        return basic[2], 0, 0, 0
    cpu_words(7, extended)
    cpu_words(0x80000001, far)
    # xgetbv is an illegal instruction where the system has not switched it on.
    saved = cpu_saved() | CPU_SAVES_ON_USE if basic[2] & <unsigned> OSXSAVE else 0
    return basic[2], extended[1], far[2], saved


def best_level() -> str:
    """The highest x86-64 level that this machine runs: "baseline", "v3" or "v4"."""
    return level_of(*words())
