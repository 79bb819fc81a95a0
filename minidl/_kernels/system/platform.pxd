# What the thread pool (pool.pyx, the only one to use this) needs of the platform: atomic words, sleeping and waking,
# starting threads, clocks, signals, forks. Without pthreads no worker is ever started.

cdef extern from *:
    """
    #ifdef _MSC_VER
      #define POOL_LOCAL __declspec(thread)
    #else
      #define POOL_LOCAL __thread
    #endif
    /* A thread's own: how deep it is in calls; whether the outermost may be stopped, by a look of this
       thread's; the flag that says that it is; when it last looked. */
    static POOL_LOCAL struct PoolCaller {
      int depth, looks;
      unsigned* stop;
      long long looked;
    } pool_caller;
    /* Runs the handlers of the signals that have come. -1: one raised, and the exception is set. (A
       handler that forks returns in the child, too: there the workers' part of the call is lost.) */
    #ifndef _WIN32
      #include <unistd.h>
      #define pool_process() ((long)getpid())
    #else
      #define pool_process() 0L
    #endif
    static int pool_signals(void) {
      long process = pool_process();
      PyGILState_STATE state = PyGILState_Ensure();
      int raised = PyErr_CheckSignals();
      if (!raised && process != pool_process()) {
        PyErr_SetString(PyExc_RuntimeError, "minidl: the process was forked while a kernel ran in it");
        raised = -1;
      }
      PyGILState_Release(state);
      return raised;
    }
    #if defined(_WIN32) || (defined(__EMSCRIPTEN__) && !defined(__EMSCRIPTEN_PTHREADS__))
      /* No pthreads: no worker is ever started and every call runs inline. */
      #define POOL_CAN_START 0
      #define pool_load(p) (*(p))
      #define pool_store(p, v) (*(p) = (v))
      #define pool_peek(p) (*(p))
      #define pool_put(p, v) (*(p) = (v))
      #define pool_add(p, v) (*(p) += (v))
      #define pool_swap(p, old, new_) (*(p) == (old) && ((*(p) = (new_)), 1))
      #define pool_relax() ((void)0)
      #include <time.h>
      #define pool_now() 0LL
      #define pool_about_now() pool_milliseconds()
      static long long pool_milliseconds(void) {
        struct timespec t;
        timespec_get(&t, TIME_UTC);
        return t.tv_sec * 1000000000LL + t.tv_nsec;
      }
      #define POOL_WORKERS 0
      #define POOL_CALLER 1
      #define pool_sleep(who, p, v) ((void)0)
      #define pool_wake(who, n) ((void)0)
      #define pool_start(i, work) ((void)(work), 0)
      #define pool_leave_core(workers, all) ((void)0)
      #define pool_at_fork(fresh) ((void)(fresh))
    #else
      #include <pthread.h>
      #include <signal.h>
      #include <time.h>
      #define POOL_CAN_START 1
      /* Sequentially consistent all: "open, then look for sleepers" races with "say that I sleep,
         then look at the gate", and nothing weaker forbids that both miss. */
      #define pool_load(p) __atomic_load_n(p, __ATOMIC_SEQ_CST)
      #define pool_store(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)
      /* Settings and hints that another thread may be changing: either value will do, half of one not. */
      #define pool_peek(p) __atomic_load_n(p, __ATOMIC_RELAXED)
      #define pool_put(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
      #define pool_add(p, v) __atomic_add_fetch(p, v, __ATOMIC_SEQ_CST)
      static inline int pool_swap(unsigned* p, unsigned old, unsigned new_) {
        return __atomic_compare_exchange_n(p, &old, new_, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
      }
      #if defined(__x86_64__) || defined(__i386__)
        #define pool_relax() __builtin_ia32_pause()
      #elif defined(__aarch64__)
        #define pool_relax() __asm__ volatile("isb")
      #else
        #define pool_relax() __asm__ volatile("" ::: "memory")
      #endif
      static long long pool_now(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * 1000000000LL + t.tv_nsec;
      }
      /* To some milliseconds, and a quarter of the cost. */
      #ifdef CLOCK_MONOTONIC_COARSE
        static long long pool_about_now(void) {
          struct timespec t;
          clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
          return t.tv_sec * 1000000000LL + t.tv_nsec;
        }
      #else
        #define pool_about_now() pool_now()
      #endif
      /* One condition variable for the workers, one for the caller (a futex measured the same). */
      enum {POOL_WORKERS, POOL_CALLER};
      static pthread_mutex_t pool_door;
      static pthread_cond_t pool_bell[2];
      static void pool_sleep(int who, unsigned* p, unsigned v) {
        pthread_mutex_lock(&pool_door);
        if (pool_load(p) == v) pthread_cond_wait(&pool_bell[who], &pool_door);
        pthread_mutex_unlock(&pool_door);
      }
      static void pool_wake(int who, Py_ssize_t count) {
        pthread_mutex_lock(&pool_door); /* so that none is between its look and its wait */
        pthread_mutex_unlock(&pool_door);
        while (count-- > 0) pthread_cond_signal(&pool_bell[who]);
      }
      static void pool_fresh_bells(void) {
        pthread_mutex_init(&pool_door, NULL);
        pthread_cond_init(&pool_bell[POOL_WORKERS], NULL);
        pthread_cond_init(&pool_bell[POOL_CALLER], NULL);
      }
      static pthread_t pool_threads[1024];
      /* Where another pool spins on the other cores (OpenBLAS does for 25 ms), a woken worker lands
         on the caller's own core half the time, and waits there until the call is over. So workers
         may run on any core that the caller may use but the one it is on. */
      #ifdef __linux__
        #include <sched.h>
        #include <string.h>
        static cpu_set_t pool_cores;
        static void pool_leave_core(Py_ssize_t workers, int all) {
          cpu_set_t cores;
          Py_ssize_t i;
          int core = sched_getcpu();
          if (core < 0 || sched_getaffinity(0, sizeof cores, &cores)) return;
          if (CPU_COUNT(&cores) > workers && core < CPU_SETSIZE) CPU_CLR(core, &cores);
          if (!all && CPU_EQUAL(&cores, &pool_cores)) return;
          for (i = 0; i < workers; i++)
            pthread_setaffinity_np(pool_threads[i], sizeof cores, &cores);
          pool_cores = cores;
        }
      #else
        #define pool_leave_core(workers, all) ((void)0)
      #endif
      static void* pool_main(void* work) {
        ((void (*)(void))work)();
        return NULL;
      }
      /* Workers block every signal but their own faults, so Ctrl-C reaches a Python thread. */
      static int pool_start(Py_ssize_t i, void (*work)(void)) {
        const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
        pthread_attr_t attr;
        sigset_t blocked, before;
        int k, error;
        sigfillset(&blocked);
        for (k = 0; k < 4; k++) sigdelset(&blocked, faults[k]);
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attr, 4 << 20); /* macOS and musl give far less */
        pthread_sigmask(SIG_SETMASK, &blocked, &before);
        error = pthread_create(&pool_threads[i], &attr, pool_main, (void*)work);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attr);
        return !error;
      }
      static void (*pool_child)(void);
      static void pool_in_child(void) {
        pool_fresh_bells();
        pool_child();
      }
      static void pool_at_fork(void (*fresh)(void)) {
        pool_child = fresh;
        pool_fresh_bells();
        pthread_atfork(NULL, NULL, pool_in_child);
      }
    #endif
    """
    const bint CAN_START "POOL_CAN_START"
    unsigned load "pool_load"(unsigned* word) noexcept nogil
    void store "pool_store"(unsigned* word, unsigned value) noexcept nogil
    Py_ssize_t peek "pool_peek"(Py_ssize_t* word) noexcept nogil
    void put "pool_put"(Py_ssize_t* word, Py_ssize_t value) noexcept nogil
    long long peek_time "pool_peek"(long long* word) noexcept nogil
    void put_time "pool_put"(long long* word, long long value) noexcept nogil
    unsigned add "pool_add"(unsigned* word, unsigned value) noexcept nogil
    Py_ssize_t add_index "pool_add"(Py_ssize_t* counter, Py_ssize_t value) noexcept nogil
    bint swap "pool_swap"(unsigned* word, unsigned old, unsigned new) noexcept nogil
    void relax "pool_relax"() noexcept nogil
    long long now "pool_now"() noexcept nogil
    long long about_now "pool_about_now"() noexcept nogil
    int signals "pool_signals"() noexcept nogil
    unsigned long thread_id "PyThread_get_thread_ident"() noexcept nogil
    cdef struct Caller "PoolCaller":
        int depth, looks
        unsigned* stop
        long long looked
    Caller caller "pool_caller"
    const int WORKERS "POOL_WORKERS", CALLER "POOL_CALLER"
    # Sleeps if *word is value; may return for no reason.
    void sleep "pool_sleep"(int who, unsigned* word, unsigned value) noexcept nogil
    void wake "pool_wake"(int who, Py_ssize_t count) noexcept nogil
    void leave_core "pool_leave_core"(Py_ssize_t workers, bint all) noexcept nogil
    bint start "pool_start"(Py_ssize_t i, void (*work)() noexcept nogil) noexcept nogil
    void at_fork "pool_at_fork"(void (*fresh)() noexcept nogil) noexcept nogil
