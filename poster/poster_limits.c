/*
 * poster_limits: a filter of system calls by their numbers; every other one fails with EPERM.
 */
#include "poster/poster_limits.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MEMORY_MAX ((rlim_t)768 * 1024 * 1024) /* a decoder of 4K pictures holds a dozen of them */

#if defined(__x86_64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OWN_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the numbers of system calls of this architecture are to be named here"
#endif

#define ALLOW(name)                                                                                          \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static bool limit(int resource, rlim_t value)
{
    const struct rlimit bound = {value, value};
    return setrlimit(resource, &bound) == 0;
}

static bool filter_calls(void)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OWN_ARCHITECTURE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        ALLOW(read),
        ALLOW(write),
        ALLOW(brk),
        ALLOW(mmap),
        ALLOW(munmap),
        ALLOW(mremap),
        ALLOW(mprotect),
        ALLOW(madvise),
        ALLOW(futex),
        ALLOW(clock_gettime),
        ALLOW(clock_nanosleep),
        ALLOW(gettid),
        ALLOW(getpid),
        ALLOW(sched_getaffinity),
        ALLOW(sched_yield),
        ALLOW(getrandom),
        ALLOW(rt_sigprocmask),
        ALLOW(rt_sigreturn),
        ALLOW(sigaltstack),
        ALLOW(exit),
        ALLOW(exit_group),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
    };
    const struct sock_fprog program = {sizeof(rules) / sizeof(rules[0]), rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

bool poster_limits_enter(void)
{
#if defined(__SANITIZE_ADDRESS__)
    bool memory = MEMORY_MAX > 0; /* its shadow is larger than any bound */
#else
    bool memory = limit(RLIMIT_AS, MEMORY_MAX);
#endif
    (void)alarm(POSTER_SECONDS);
    return memory && limit(RLIMIT_CPU, POSTER_CPU_SECONDS) && limit(RLIMIT_CORE, 0) &&
           limit(RLIMIT_FSIZE, 0) && filter_calls();
}
