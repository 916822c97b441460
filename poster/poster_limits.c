/*
 * poster_limits: a filter of system calls by their numbers; every other one fails with EPERM. Memory that can be written and run as
 * code is among what fails.
 */
#include "poster/poster_limits.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
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
#error "add the architecture here: its AUDIT_ARCH name"
#endif

/* The lower half of the third argument of mmap and mprotect, on these little-endian machines. */
#define PROTECTION (offsetof(struct seccomp_data, args) + 2 * sizeof(uint64_t))

#define ALLOW(name)                                                                                          \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static bool limit(__rlimit_resource_t resource, rlim_t value)
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
        /* No memory becomes code: what a decoder is made to write cannot be run. */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, PROTECTION),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        ALLOW(munmap),
        ALLOW(mremap),
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
