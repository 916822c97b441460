/*
 * main: the process of the `reel` command; everything else is command_main()'s, which tests call too.
 */
#include "client/command/command_internal.h"

int main(int argc, char **argv)
{
    return command_main(argc, argv);
}
