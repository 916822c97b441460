/*
 * fiber_place: see fiber_place.h. What the calling convention has a function keep lies on the stack that is left.
 */
#include "tests/simulation/fiber_place.h"

#if defined(__x86_64__)
__attribute__((naked, noinline)) void fiber_place_swap(struct fiber_place *from, const struct fiber_place *to)
{
    (void)from;
    (void)to;
    __asm__("pushq %rbp\n pushq %rbx\n pushq %r12\n pushq %r13\n pushq %r14\n pushq %r15\n"
            "movq %rsp, (%rdi)\n movq (%rsi), %rsp\n"
            "popq %r15\n popq %r14\n popq %r13\n popq %r12\n popq %rbx\n popq %rbp\n ret\n");
}

void fiber_place_make(struct fiber_place *place, void *stack, size_t size, void (*run)(void))
{
    void **top = (void **)((char *)stack + size);
    *--top = NULL; /* nobody to return to */
    *--top = *(void **)&run;
    for (int i = 0; i < 6; i++)
        *--top = NULL;
    place->stack = top;
}
#else
void fiber_place_swap(struct fiber_place *from, const struct fiber_place *to)
{
    swapcontext(&from->context, &to->context);
}

void fiber_place_make(struct fiber_place *place, void *stack, size_t size, void (*run)(void))
{
    getcontext(&place->context);
    place->context.uc_stack.ss_sp = stack;
    place->context.uc_stack.ss_size = size;
    place->context.uc_link = NULL;
    makecontext(&place->context, run, 0);
}
#endif
