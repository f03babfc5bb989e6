/* The hub is killed while a call waits for it, in each call once: the call ends in time, with one of the errors it may have, and is
 * made again when the next hub is there. argv: the socket, the first and the last of the calls. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

static void rest(long milliseconds) {
    struct timespec time;
    time.tv_sec = 0;
    time.tv_nsec = milliseconds * 1000000;
    nanosleep(&time, NULL);
}

/* Not at once: the call has to be under way. When it is not yet, it finds no hub, which it may. */
static void *kill_soon(void *pid) {
    rest(30);
    CHECK(kill(*(pid_t *)pid, SIGKILL) == 0);
    return NULL;
}

static push_status call(const push_client *client, int which) {
    push_publication messages[1];
    push_published published;
    push_channel *channel = NULL;
    push_channel_list *channels = NULL;
    push_message_list *page = NULL;
    char token[PUSH_TOKEN_SIZE];
    push_member *member = NULL;
    push_member_list *members = NULL;
    push_name_list *names = NULL;
    push_counters counters;
    uint64_t number;
    bool online;
    push_text ann = push_str("ann");
    push_status status;
    push_text room = push_str("killed");
    switch (which) {
        case 0: return push_publish(client, room, push_str_data("x"), NULL, &published);
        case 1: return push_publish_async(client, room, push_str_data("x"), NULL);
        case 2:
            messages[0].channel = room;
            messages[0].payload = push_str_data("x");
            messages[0].options = NULL;
            return push_publish_many(client, messages, 1, &published);
        case 3: return push_create_channel(client, room, NULL, NULL, 0);
        case 4: return push_delete_channel(client, push_str("none"), push_data(NULL, 0), NULL);
        case 5: return push_clear_channel(client, room, NULL);
        case 6:
            status = push_channel_info(client, room, &channel);
            push_channel_free(channel);
            return status == PUSH_CHANNEL_NOT_FOUND ? PUSH_OK : status;
        case 7:
            status = push_channels(client, push_str(NULL), push_str(NULL), 10, &channels);
            push_channel_list_free(channels);
            return status;
        case 8:
            status = push_history(client, room, PUSH_POSITION_START, 10, &page);
            push_message_list_free(page);
            return status;
        case 9: return push_position(client, &number);
        case 19: return push_token(client, &room, 1, ann, 60, push_str(NULL), false, token, sizeof token);
        case 20: return push_disconnect(client, ann, room, push_str(NULL), true, &number);
        case 11: return push_presence_online(client, ann, room, push_str(NULL), 0, NULL);
        case 12: return push_presence_offline(client, ann, room, NULL);
        case 13: return push_presence_is_online(client, ann, room, &online);
        case 14:
            status = push_presence_among(client, &ann, 1, room, &names);
            push_name_list_free(names);
            return status;
        case 15:
            status = push_presence_get(client, ann, room, &member);
            push_member_free(member);
            return status;
        case 16:
            status = push_presence_members(client, room, push_str(NULL), 10, &members);
            push_member_list_free(members);
            return status;
        case 17: return push_presence_count(client, room, &number);
        case 18:
            status = push_presence_channels(client, ann, &names);
            push_name_list_free(names);
            return status;
        default:
            push_counters_init(&counters);
            return push_client_status(client, &counters);
    }
}

int main(int argc, char **argv) {
    push_config *config;
    push_client *client = NULL;
    int which, last;
    CHECK(argc == 4);
    which = atoi(argv[2]);
    last = atoi(argv[3]);
    config = configured(argv[1]);
    OK(push_config_set(config, "backoff", "1ms"));
    OK(push_client_open(config, &client));
    push_config_free(config);
    for (; which <= last; which++) {
        push_counters counters;
        pthread_t killer;
        push_status status;
        pid_t pid;
        int tries;
        push_counters_init(&counters);
        OK(push_client_status(client, &counters));
        pid = (pid_t)counters.pid;
        CHECK(kill(pid, SIGSTOP) == 0);
        CHECK(pthread_create(&killer, NULL, kill_soon, &pid) == 0);
        status = call(client, which);
        CHECK(status == PUSH_OK || status == PUSH_HUB_UNAVAILABLE || status == PUSH_TIMEOUT);
        CHECK(pthread_join(killer, NULL) == 0);
        for (tries = 0; tries < 2000 && push_client_ping(client, 1000) != PUSH_OK; tries++) {
            rest(5);
        }
        OK(call(client, which));
        OK(push_client_status(client, &counters));
        CHECK((pid_t)counters.pid != pid);
    }
    push_client_free(client);
    return failures == 0 ? 0 : 1;
}
