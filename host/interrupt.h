// SPDX-License-Identifier: Apache-2.0
// Ctrl-C, SIGTERM and a hangup. The first asks the program to stop at the next good place; the
// second ends it at once, but never between the first and the last byte of a guarded write. Ending
// at once removes the temporary files (base/file_write.h). A signal that was ignored when the
// program started stays ignored.
#ifndef HOST_INTERRUPT_H
#define HOST_INTERRUPT_H

#include <stdbool.h>

enum { INTERRUPT_EXIT = 130 }; // the exit status, as shells expect after SIGINT

void interrupt_install(void);

// For a command without such places: the first signal ends it at once.
void interrupt_install_ending(void);

bool interrupt_asked(void);

// Around a write that must be whole.
void interrupt_guard_begin(void);
void interrupt_guard_end(void);

#endif
