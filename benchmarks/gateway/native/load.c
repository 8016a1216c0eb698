/* A load client for HTTP/1.1 on one thread: keeps connections busy, or sends at a fixed rate, and counts what comes.
 *
 * usage: load PORT CONNECTIONS SECONDS WARMUP RATE REQUEST_FILE
 *
 * RATE 0 sends the next request of a connection as soon as the last one was answered. Otherwise requests are due at a
 * fixed rate whatever the answers do, and a latency counts from when its request was due, so that a server that stalls
 * cannot hide it. Requests that were due before WARMUP seconds had passed are not counted. Prints one JSON object;
 * a token is an event with content that is not empty.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD 16384

typedef struct {
    int fd;
    bool busy, in_body, chunked, ok;
    size_t to_send;         /* of the request, not yet written */
    char head[HEAD];        /* the answer's, while it comes */
    size_t head_length;
    long left;              /* of the body, or of the chunk and its line end */
    int chunk_state;        /* 0 size, 1 rest of the size's line, 2 data, 3 line end, 4 last line */
    long chunk_size, trailer;
    int match, newlines;    /* how far "content":" and the end of an event are seen */
    double due, first;
} Connection;

static const char *const CONTENT = "\"content\":";
static char *request;
static size_t request_length;
static Connection *all;
static int count, poller, port;
static int *idle, idle_count;
static double start, warm, end;
static float *latencies, *firsts;
static size_t answers, capacity, tokens, events, failures, bytes, requests_done;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void open_connection(Connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
}

static void want(Connection *c, bool writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event)) die("epoll_ctl");
}

static void push(Connection *c) {
    bool was_blocked = c->to_send < request_length;
    while (c->to_send) {
        ssize_t sent = send(c->fd, request + request_length - c->to_send, c->to_send, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            want(c, true);
            return;
        }
        if (sent < 0) die("send");
        c->to_send -= (size_t)sent;
    }
    if (was_blocked) want(c, false);
}

static void begin(Connection *c, double due) {
    c->busy = true;
    c->in_body = c->chunked = false;
    c->head_length = 0;
    c->chunk_state = c->match = c->newlines = 0;
    c->chunk_size = 0;
    c->due = due;
    c->first = 0;
    c->to_send = request_length;
    push(c);
}

static void finish(Connection *c, double at) {
    c->busy = false;
    requests_done++;
    if (c->due >= warm && at <= end) {
        if (!c->ok) failures++;
        if (answers == capacity) {
            capacity = capacity ? 2 * capacity : 1 << 16;
            latencies = realloc(latencies, capacity * sizeof *latencies);
            firsts = realloc(firsts, capacity * sizeof *firsts);
        }
        latencies[answers] = (float)(at - c->due);
        firsts[answers++] = (float)(c->first - c->due);
    }
    idle[idle_count++] = (int)(c - all);
}

/* Bytes of the body as the server meant it. */
static void look(Connection *c, const char *data, size_t length, bool counted) {
    for (size_t i = 0; i < length; i++) {
        char x = data[i];
        if (x == '\n') {
            if (++c->newlines == 2 && counted) events++;
        } else if (x != '\r') {
            c->newlines = 0;
        }
        if (c->match == 10) { /* the name is seen; the value's first character but blanks */
            c->match = x == ' ' ? 10 : x == '"' ? 11 : 0;
        } else if (c->match == 11) {
            if (x != '"' && counted) tokens++;
            c->match = 0;
        } else {
            c->match = x == CONTENT[c->match] ? c->match + 1 : x == '"';
        }
    }
}

static bool parse_head(Connection *c) {
    char *stop = memmem(c->head, c->head_length, "\r\n\r\n", 4);
    if (!stop) {
        if (c->head_length == HEAD) die("an answer's head is too long");
        return false;
    }
    *stop = 0;
    c->ok = !strncmp(c->head, "HTTP/1.1 200", 12);
    char *length = strcasestr(c->head, "\ncontent-length:");
    c->chunked = !length;
    c->left = length ? atol(length + 16) : 0;
    c->in_body = true;
    return true;
}

/* True once the answer is whole. */
static bool chunked(Connection *c, const char *data, size_t length, bool counted) {
    for (size_t i = 0; i < length;) {
        char x = data[i];
        switch (c->chunk_state) {
        case 0:
            if (x == '\r' || x == ';') {
                c->chunk_state = 1;
            } else {
                c->chunk_size = 16 * c->chunk_size + (x <= '9' ? x - '0' : (x | 32) - 'a' + 10);
            }
            i++;
            break;
        case 1:
            i++;
            if (x == '\n') {
                c->left = c->chunk_size;
                c->chunk_state = c->chunk_size ? 2 : 4;
                c->chunk_size = c->trailer = 0;
            }
            break;
        case 2: {
            size_t some = length - i < (size_t)c->left ? length - i : (size_t)c->left;
            look(c, data + i, some, counted);
            c->left -= (long)some;
            i += some;
            if (!c->left) c->chunk_state = 3;
            break;
        }
        case 3:
            i++;
            if (x == '\n') c->chunk_state = 0;
            break;
        default:
            i++;
            if (x == '\n') return true;
        }
    }
    return false;
}

static void receive(Connection *c) {
    char buffer[65536];
    ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EAGAIN) return;
    double at = now();
    if (got <= 0) { /* also after being idle for long, which is no failure */
        close(c->fd);
        open_connection(c);
        c->ok = false;
        if (c->busy) finish(c, at);
        return;
    }
    bool counted = at >= warm && at <= end;
    if (counted) bytes += (size_t)got;
    if (!c->first) c->first = at;
    const char *data = buffer;
    size_t length = (size_t)got;
    if (!c->in_body) {
        size_t before = c->head_length, some = length < HEAD - before ? length : HEAD - before;
        memcpy(c->head + before, data, some);
        c->head_length += some;
        if (!parse_head(c)) return;
        size_t head = strlen(c->head) + 4 - before; /* of these bytes, those of the head */
        data += head;
        length -= head;
    }
    bool whole;
    if (c->chunked) {
        whole = chunked(c, data, length, counted);
    } else {
        look(c, data, length, counted);
        whole = (c->left -= (long)length) <= 0;
    }
    if (whole) finish(c, at);
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void spread(const char *name, float *values) {
    qsort(values, answers, sizeof *values, by_value);
    double sum = 0;
    for (size_t i = 0; i < answers; i++) sum += values[i];
    printf(", \"%s\": {\"mean\": %.7f", name, answers ? sum / (double)answers : 0);
    const double shares[] = {0.5, 0.9, 0.99};
    const char *const names[] = {"p50", "p90", "p99"};
    for (int i = 0; i < 3; i++) {
        size_t at = (size_t)(shares[i] * (double)answers);
        printf(", \"%s\": %.7f", names[i], answers ? values[at < answers ? at : answers - 1] : 0);
    }
    printf(", \"max\": %.7f}", answers ? values[answers - 1] : 0);
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: load PORT CONNECTIONS SECONDS WARMUP RATE REQUEST_FILE\n");
        return 2;
    }
    port = atoi(argv[1]);
    count = atoi(argv[2]);
    double seconds = atof(argv[3]), rate = atof(argv[5]);
    FILE *file = fopen(argv[6], "rb");
    if (!file) die(argv[6]);
    request = malloc(1 << 22);
    request_length = fread(request, 1, 1 << 22, file);
    struct rlimit files = {.rlim_cur = (rlim_t)count + 64, .rlim_max = 0};
    struct rlimit most;
    getrlimit(RLIMIT_NOFILE, &most);
    files.rlim_max = most.rlim_max > files.rlim_cur ? most.rlim_max : files.rlim_cur;
    if (most.rlim_cur < files.rlim_cur && setrlimit(RLIMIT_NOFILE, &files)) die("setrlimit");
    poller = epoll_create1(0);
    all = calloc((size_t)count, sizeof *all);
    idle = malloc((size_t)count * sizeof *idle);
    for (int i = 0; i < count; i++) {
        open_connection(&all[i]);
        idle[idle_count++] = i;
    }
    start = now();
    warm = start + atof(argv[4]);
    end = warm + seconds;
    size_t sent = 0;
    struct epoll_event ready[256];
    for (double at = start; at < end; at = now()) {
        if (rate > 0) {
            while (idle_count && start + (double)sent / rate <= at) {
                begin(&all[idle[--idle_count]], start + (double)sent / rate);
                sent++;
            }
        } else {
            while (idle_count) begin(&all[idle[--idle_count]], now());
        }
        double next = rate > 0 && idle_count ? start + (double)sent / rate : end;
        struct timespec wait = {0, 0};
        double pause = next - now();
        if (pause > 0) {
            wait.tv_sec = (time_t)pause;
            wait.tv_nsec = (long)(1e9 * (pause - (double)wait.tv_sec));
        }
        int n = epoll_pwait2(poller, ready, 256, &wait, NULL);
        for (int i = 0; i < n; i++) {
            Connection *c = ready[i].data.ptr;
            if (ready[i].events & EPOLLOUT) push(c);
            if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
        }
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                 1e-6 * (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    printf("{\"seconds\": %.3f, \"answers\": %zu, \"failures\": %zu, \"tokens\": %zu, \"events\": %zu, \"bytes\": %zu",
           seconds, answers, failures, tokens, events, bytes);
    printf(", \"cpu\": %.3f, \"unsent\": %.0f", cpu,
           rate > 0 ? (double)(long)(rate * (end - start)) - (double)sent : 0);
    spread("latency", latencies);
    spread("first_byte", firsts);
    printf("}\n");
    return 0;
}
