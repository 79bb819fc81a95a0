# What recycled memory (memory.pyx, the only one to use this) needs of the platform: a lock, and memory from the system.

cdef extern from *:
    """
    /* A processor tells by the low 12 bits of the addresses whether a load has to wait for an earlier
       store. Where a result begins up to some 500 bytes behind an operand, modulo that page, the loads
       of the next lines wait for nothing: relu needs up to 1.5x the time. So the data of all larger
       allocations begins in the middle of a page, and the system's malloc puts its own at the beginning. */
    #define MEMORY_PAGE ((size_t)4096)
    #define MEMORY_PLACE (MEMORY_PAGE / 2 - 64) /* of the header, so that the data comes to the middle */
    #define MEMORY_PAGED (4 * MEMORY_PAGE)      /* bytes of a larger allocation */
    #ifdef _WIN32
      #include <malloc.h>
      #include <windows.h>
      static SRWLOCK memory_door = SRWLOCK_INIT;
      #define memory_lock() AcquireSRWLockExclusive(&memory_door)
      #define memory_unlock() ReleaseSRWLockExclusive(&memory_door)
      #define memory_at_fork() ((void)0)
      static void* memory_new(size_t bytes, void** base, size_t* map_bytes) {
        const size_t place = bytes < MEMORY_PAGED ? 0 : MEMORY_PLACE;
        *base = _aligned_malloc(bytes + place, place ? MEMORY_PAGE : 64);
        *map_bytes = 0;
        return *base ? (char*)*base + place : NULL;
      }
      static void memory_free(void* base, size_t map_bytes) {
        (void)map_bytes;
        _aligned_free(base);
      }
    #else
      #include <pthread.h>
      #include <sched.h>
      #include <stdint.h>
      #include <stdlib.h>
      #include <sys/mman.h>
      /* A spin lock: held for nanoseconds, and half the cost of a mutex to a small array. */
      static char memory_door;
      static void memory_lock(void) {
        while (__atomic_test_and_set(&memory_door, __ATOMIC_ACQUIRE)) sched_yield();
      }
      static void memory_unlock(void) { __atomic_clear(&memory_door, __ATOMIC_RELEASE); }
      /* A forked child must not inherit the lock from a thread that it does not have. */
      static void memory_at_fork(void) {
        pthread_atfork(memory_lock, memory_unlock, memory_unlock);
      }
      #define MEMORY_HUGE ((size_t)2 << 20)
      /* Large allocations get a mapping of their own, so that freeing one returns it to the system, in
         huge pages where there are any: 512 times fewer page faults, and fewer misses later. */
      static void* memory_new(size_t bytes, void** base, size_t* map_bytes) {
        const size_t place = bytes < MEMORY_PAGED ? 0 : MEMORY_PLACE;
        char* start;
        *map_bytes = 0;
        if (bytes < MEMORY_HUGE / 2) {
          if (posix_memalign(base, place ? MEMORY_PAGE : 64, bytes + place)) return NULL;
          return (char*)*base + place;
        }
        *map_bytes = bytes + MEMORY_HUGE + place; /* what is not touched costs nothing */
        *base = mmap(NULL, *map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
        if (*base == MAP_FAILED) return NULL;
        start = (char*)(((uintptr_t)*base + MEMORY_HUGE - 1) & ~(uintptr_t)(MEMORY_HUGE - 1));
        #ifdef MADV_HUGEPAGE
          if (bytes >= MEMORY_HUGE) madvise(start, bytes & ~(MEMORY_HUGE - 1), MADV_HUGEPAGE);
        #endif
        return start + place;
      }
      static void memory_free(void* base, size_t map_bytes) {
        if (map_bytes) munmap(base, map_bytes);
        else free(base);
      }
    #endif
    """
    void lock "memory_lock"() noexcept nogil
    void unlock "memory_unlock"() noexcept nogil
    void at_fork "memory_at_fork"()
    void* system_new "memory_new"(size_t bytes, void** base, size_t* map_bytes) noexcept nogil
    void system_free "memory_free"(void* base, size_t map_bytes) noexcept nogil
