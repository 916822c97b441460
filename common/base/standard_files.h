/*
 * standard_files: descriptors 0, 1 and 2 exist. A process that was started with one of them closed would get it for the
 * next file or socket that it opens, and what it then prints for people would go there: a log line into the pid file, an
 * error text into a database. The first thing in every main().
 */
#ifndef REEL_COMMON_STANDARD_FILES_H
#define REEL_COMMON_STANDARD_FILES_H

/* Opens /dev/null in the place of those that are closed. Where even that fails the process ends with code 1: there is
 * nowhere to report it. */
void standard_files_open(void);

#endif
