/* Times one way of publishing from C: publish WAY PACE CALLS CHANNEL SOCKET
 *
 * WAY is push_publish, push_publish_async, embedded (push_publish with the hub in this process; SOCKET is not used) or redis
 * (PUBLISH by hiredis over a unix socket). PACE is hot (call after call) or paced (one call every 0.5 ms, so that the server sleeps
 * at each; this process computes meanwhile). Messages are numbered from 1, 100 bytes each. Prints one JSON line. */
#define _POSIX_C_SOURCE 200809L
#include <push.h>

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { INTERVAL = 500000, WARM_UP = 200, LEN = 100 };

static push_client *client;
static redisContext *redis;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void fail(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static void check(push_status status) {
    if (status != PUSH_OK) {
        fail(push_last_error());
    }
}

static void acknowledged(push_text channel, push_bytes text) {
    push_published published;
    check(push_publish(client, channel, text, NULL, &published));
}

static void asynchronous(push_text channel, push_bytes text) { check(push_publish_async(client, channel, text, NULL)); }

static void by_redis(push_text channel, push_bytes text) {
    redisReply *reply = (redisReply *)redisCommand(redis, "PUBLISH %b %b", channel.data, channel.len, text.data, text.len);
    if (reply == NULL || reply->type != REDIS_REPLY_INTEGER) {
        fail(redis->errstr);
    }
    freeReplyObject(reply);
}

static int by_time(const void *one, const void *other) {
    int64_t a = *(const int64_t *)one, b = *(const int64_t *)other;
    return (a > b) - (a < b);
}

int main(int argc, char **argv) {
    void (*publish)(push_text, push_bytes) = acknowledged;
    push_config *config = push_config_new();
    push_hub *hub = NULL;
    int64_t *times, begin, start, end;
    int calls, at, paced;
    push_text channel;
    char text[LEN + 1];
    if (argc != 6) {
        fail("usage: publish WAY PACE CALLS CHANNEL SOCKET");
    }
    paced = strcmp(argv[2], "paced") == 0;
    calls = atoi(argv[3]);
    channel = push_str(argv[4]);
    if (strcmp(argv[1], "redis") == 0) {
        redis = redisConnectUnix(argv[5]);
        if (redis == NULL || redis->err) {
            fail(redis == NULL ? "no memory" : redis->errstr);
        }
        publish = by_redis;
    } else if (strcmp(argv[1], "embedded") == 0) {
        check(push_config_set(config, "listen", "127.0.0.1:0"));
        check(push_config_set(config, "threads", "1"));
        check(push_hub_start(config, &hub));
        check(push_client_embedded(hub, &client));
    } else {
        check(push_config_set(config, "socket", argv[5]));
        check(push_client_open(config, &client));
        publish = strcmp(argv[1], "push_publish_async") == 0 ? asynchronous : acknowledged;
    }
    times = (int64_t *)malloc(sizeof *times * (size_t)calls);
    if (calls <= WARM_UP || times == NULL) {
        fail("more calls");
    }
    memset(text, '.', sizeof text);
    begin = start = now();
    for (at = 0; at < calls; at++) {
        int64_t due = start + INTERVAL;
        text[snprintf(text, sizeof text, "%010d", at + 1)] = '.';
        while (paced && now() < due) {
        }
        start = now();
        publish(channel, push_data(text, LEN));
        times[at] = now() - start;
    }
    end = now();
    /* The first calls attach or connect, and warm caches. */
    qsort(times + WARM_UP, (size_t)(calls - WARM_UP), sizeof *times, by_time);
    calls -= WARM_UP;
    printf("{\"p50_us\":%.3f,\"p99_us\":%.3f,\"calls_per_second\":%.0f}\n", (double)times[WARM_UP + calls / 2] / 1000,
           (double)times[WARM_UP + (int)(0.99 * (calls - 1))] / 1000, (calls + WARM_UP) / ((double)(end - begin) / 1e9));
    free(times);
    push_client_free(client);
    push_hub_stop(hub);
    push_config_free(config);
    if (redis != NULL) {
        redisFree(redis);
    }
    return 0;
}
