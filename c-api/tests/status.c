/* Version and status texts, as a C program sees them. Compiled as C99, C11 and C++17, against libpush.so and libpush.a. */
#include "push.h"

#include <stdio.h>
#include <string.h>

static int failures = 0;

#define CHECK(condition)                                                     \
    do {                                                                     \
        if (!(condition)) {                                                  \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);  \
            failures++;                                                      \
        }                                                                    \
    } while (0)

int main(int argc, char **argv) {
    push_status status;

    CHECK(argc == 2);
    CHECK(argc == 2 && strcmp(push_version(), argv[1]) == 0);
    CHECK(push_version() == push_version());

    for (status = PUSH_OK; status <= PUSH_INCOMPATIBLE; status++) {
        CHECK(strlen(push_status_text(status)) > 0);
        CHECK(strcmp(push_status_text(status), push_status_text(-1)) != 0);
    }
    CHECK(strcmp(push_status_text(PUSH_INCOMPATIBLE + 1), push_status_text(-1)) == 0);
    CHECK(strstr(push_status_text(PUSH_HUB_UNAVAILABLE), "no hub answers") != NULL);
    CHECK(strstr(push_status_text(PUSH_TOO_LARGE), "max_message_size") != NULL);
    return failures == 0 ? 0 : 1;
}
