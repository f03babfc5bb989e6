/* One client in eight threads, and in forked children. */
#define _POSIX_C_SOURCE 200809L
#include "test.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 8, EACH = 200 };

struct worker {
    const push_client *client;
    pthread_t thread;
    int number;
    int failed;
};

static void *work(void *argument) {
    struct worker *worker = (struct worker *)argument;
    char payload[32];
    int at;
    for (at = 0; at < EACH; at++) {
        push_published published;
        int len = snprintf(payload, sizeof payload, "%d-%d", worker->number, at);
        worker->failed += push_publish(worker->client, push_str("threads"), push_data(payload, (size_t)len), NULL, &published) != PUSH_OK;
        worker->failed += push_publish_async(worker->client, push_str("threads"), push_data(payload, (size_t)len), NULL) != PUSH_OK;
        /* The text belongs to the thread. */
        worker->failed += push_publish(worker->client, push_str(worker->number % 2 ? "" : "a/b"), push_str_data("x"), NULL, NULL) != PUSH_INVALID_NAME;
        worker->failed += strstr(push_last_error(), worker->number % 2 ? "empty" : "\"/\"") == NULL;
    }
    return NULL;
}

static void threads(const push_client *client) {
    struct worker workers[THREADS];
    push_channel *info = NULL;
    int at;
    for (at = 0; at < THREADS; at++) {
        workers[at].client = client;
        workers[at].number = at;
        workers[at].failed = 0;
        CHECK(pthread_create(&workers[at].thread, NULL, work, &workers[at]) == 0);
    }
    for (at = 0; at < THREADS; at++) {
        CHECK(pthread_join(workers[at].thread, NULL) == 0);
        CHECK(workers[at].failed == 0);
    }
    OK(push_channel_info(client, push_str("threads"), &info));
    CHECK(push_channel_published(info) == 2 * THREADS * EACH);
    push_channel_free(info);
}

static int child(push_client *client, push_hub *hub, const char *channel) {
    push_published published;
    push_counters counters;
    push_client *other = NULL;
    failures = 0;
    if (hub == NULL) {
        OK(push_publish(client, push_str(channel), push_str_data("child"), NULL, &published));
        OK(push_publish_async(client, push_str(channel), push_str_data("child"), NULL));
        OK(push_client_ping(client, 5000));
    } else {
        push_counters_init(&counters);
        CHECK(push_publish(client, push_str(channel), push_str_data("child"), NULL, &published) == PUSH_FORKED && said("forked"));
        CHECK(push_publish_async(client, push_str(channel), push_str_data("child"), NULL) == PUSH_FORKED);
        CHECK(push_client_ping(client, 10) == PUSH_FORKED);
        CHECK(push_hub_counters(hub, &counters) == PUSH_FORKED && push_hub_drain(hub) == PUSH_FORKED);
        CHECK(push_client_embedded(hub, &other) == PUSH_FORKED && other == NULL);
        CHECK(push_hub_address(hub, 0) != NULL);
    }
    push_client_free(client);
    push_hub_stop(hub);
    return failures;
}

static void wait_for(pid_t pid) {
    int status = 1;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void forks(push_client *client, push_hub *hub) {
    enum { CHILDREN = 4 };
    pid_t pids[CHILDREN];
    push_channel *info = NULL;
    int at;
    OK(push_publish(client, push_str("forks"), push_str_data("parent"), NULL, NULL));
    for (at = 0; at < CHILDREN; at++) {
        pids[at] = fork();
        CHECK(pids[at] >= 0);
        if (pids[at] == 0) {
            pid_t grandchild;
            if (hub == NULL) {
                OK(push_client_ping(client, 5000));
            }
            grandchild = fork();
            if (grandchild == 0) {
                _exit(child(client, hub, "forks"));
            }
            wait_for(grandchild);
            _exit(child(client, hub, "forks") || failures);
        }
        OK(push_publish(client, push_str("forks"), push_str_data("parent"), NULL, NULL));
    }
    for (at = 0; at < CHILDREN; at++) {
        wait_for(pids[at]);
    }
    OK(push_channel_info(client, push_str("forks"), &info));
    CHECK(push_channel_published(info) == 1 + CHILDREN * (hub == NULL ? 5u : 1u));
    push_channel_free(info);
}

int main(int argc, char **argv) {
    push_hub *hub;
    push_client *client;
    CHECK(argc == 2);
    client = reach(argv[1], &hub);
    threads(client);
    forks(client, hub);
    push_client_free(client);
    push_hub_stop(hub);
    return failures == 0 ? 0 : 1;
}
