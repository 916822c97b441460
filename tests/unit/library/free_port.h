/*
 * free_port: ports for what a test starts and stops. For tests only; not thread-safe. Failures end the test.
 */
#ifndef REEL_TESTS_FREE_PORT_H
#define REEL_TESTS_FREE_PORT_H

#include <stdbool.h>
#include <stdint.h>

/* A port of loopback that nobody listens on, reserved for this process as long as it lives: no other test gets it, whether in C
 * or in Python (tests/system/suite.py), and the kernel does not give it to outgoing connections. */
uint16_t free_port(void);
/* Whether ::1 is an address of this machine: a container often has the family and no address of it. */
bool has_ipv6(void);

#endif
