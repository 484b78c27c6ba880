/*
 * What Debian 12's User-Mode Linux needs to run well, preloaded into linux.uml: two of its functions of libc are amended here.
 *
 * ptrace: UML keeps 2696 bytes of a process's extended state (HOST_FP_SIZE: AVX-512 and PKRU included). Linux takes nothing but the whole
 * state of its CPU (xstateregs_set: EFAULT), which with AMX is 11008 bytes, and UML panics at its first process. So what UML knows is
 * completed: the rest stays as it is at a program's start. No program in a guest can miss it, for AMX must be asked for first
 * (ARCH_REQ_XCOMP_PERM). Newer kernels' UML asks the CPU for the size.
 *
 * timer_settime: under heavy I/O the guest now and then loses a SIGALRM of its only timer, which it arms for one shot. It is never armed
 * again: everything that sleeps sleeps for ever, while interrupts of devices and programs that compute go on. Seen in test/lab/shared, twice
 * in two days. So a shot is repeated until the timer is set anew: a lost one is made up for, one too many is a clock interrupt without
 * work.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

/* The XSAVE area (Intel SDM, volume 1, 13.4): its header begins with a bit for each component that is not in its initial state. */
#define HEADER 512
/* XCR0's components that end before byte 2696: x87, SSE, AVX, MPX, AVX-512, PKRU. */
#define KNOWN 0x2ff

typedef long ptrace_fn(enum __ptrace_request, pid_t, void *, void *);

static char area[1 << 16] __attribute__((aligned(64)));
static size_t size; /* of the CPU's extended state */

static long set_whole(ptrace_fn *real, pid_t pid, struct iovec *known)
{
	struct iovec whole = {area, sizeof area};
	uint64_t components;

	if (!size) {
		if (real(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &whole) < 0)
			return -1;
		size = whole.iov_len;
		memset(area, 0, sizeof area);
	}
	if (known->iov_len >= size)
		return real(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, known);
	memcpy(area, known->iov_base, known->iov_len);
	memcpy(&components, area + HEADER, sizeof components);
	components &= KNOWN;
	memcpy(area + HEADER, &components, sizeof components);
	whole.iov_len = size;
	return real(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_fn *real;
	va_list rest;
	pid_t pid;
	void *addr, *data;

	if (!real)
		real = (ptrace_fn *)dlsym(RTLD_NEXT, "ptrace");
	va_start(rest, request);
	pid = va_arg(rest, pid_t);
	addr = va_arg(rest, void *);
	data = va_arg(rest, void *);
	va_end(rest);
	if (request == PTRACE_SETREGSET && (uintptr_t)addr == NT_X86_XSTATE)
		return set_whole(real, pid, data);
	return real(request, pid, addr, data);
}

/* How soon a lost shot is made up for, in ns. */
#define AGAIN 50000000L

int timer_settime(timer_t timer, int flags, const struct itimerspec *set, struct itimerspec *old)
{
	static int (*real)(timer_t, int, const struct itimerspec *, struct itimerspec *);
	struct itimerspec repeated = *set;

	if (!real)
		real = (int (*)(timer_t, int, const struct itimerspec *, struct itimerspec *))dlsym(RTLD_NEXT, "timer_settime");
	if (!repeated.it_interval.tv_sec && !repeated.it_interval.tv_nsec)
		repeated.it_interval.tv_nsec = AGAIN;
	return real(timer, flags, &repeated, old);
}
