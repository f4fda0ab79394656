// SPDX-License-Identifier: Apache-2.0
#include "base/purse.h"

Status purse_error(const Purse *purse, const char *what, Error *error) {
    Status refused = purse != NULL ? purse->refused : OK;
    if (refused == OK) {
        return error_set(error, E_MEMORY, "no memory for %s", what);
    }
    if (refused == E_USER_BUSY) {
        return error_set(error, refused,
                         "the server holds so much for this user that the rest is kept for others; "
                         "%s must wait until some of it is done",
                         what);
    }
    return error_set(error, refused,
                     "the server holds as much for its clients as it may; %s must wait", what);
}
