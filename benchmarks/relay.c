// A link between two TUN devices: serialisation at a rate, a fixed delay each way, independent loss on the uplink, a
// drop-tail queue without limit. See namespaces.py, which compiles, starts and stops it.
//
//     relay UP DOWN MTU HEADER_BYTES RATE_BPS DOWN_RATE_BPS DELAY_NS DOWN_DELAY_NS LOSS SEED SMALL_BYTES SPIN_NS MOST_S
//
// Creates both devices and says "ready". Ends when standard input does, or after MOST_S, and reports as JSON: per way
// how many packets went and how late they were handed on, and which packets of the uplink were lost (the first is 0).
// Packets of up to SMALL_BYTES are never lost and not counted. A packet's HEADER_BYTES are those of the link layer.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PLACES (1u << 14)  // of packets under way
#define LATE_STEPS 20000   // of a microsecond
#define MOST_DROPS (1u << 20)

typedef struct {
    int64_t due;
    int length;
    unsigned char *data;
} Packet;

typedef struct {
    int in, out;
    double ns_per_byte;
    int64_t delay, busy;
    double loss;
    Packet *queue;
    uint64_t head, tail;
    uint64_t refused, counted, bytes;
    uint64_t late[LATE_STEPS + 1];
    int64_t latest;
} Way;

static uint64_t state;
static uint32_t drops[MOST_DROPS];
static uint64_t dropped;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

// uniform in [0, 1): SplitMix64 (Steele, Lea and Flood 2014)
static double draw(void) {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) / 9007199254740992.0;
}

static void *room(size_t bytes) {
    void *found = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return found;
}

static int device(const char *name) {
    struct ifreq request;
    int file = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    memset(&request, 0, sizeof request);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    if (file < 0 || ioctl(file, TUNSETIFF, &request) < 0) {
        perror("/dev/net/tun");
        exit(1);
    }
    return file;
}

static void hand_on(Way *way) {
    while (way->head < way->tail) {
        Packet *packet = &way->queue[way->head % PLACES];
        int64_t late = now() - packet->due;
        if (late < 0) return;
        if (write(way->out, packet->data, packet->length) < 0) way->refused++;
        way->late[late / 1000 < LATE_STEPS ? late / 1000 : LATE_STEPS]++;
        if (late > way->latest) way->latest = late;
        way->head++;
    }
}

// Whether there was a packet.
static int take(Way *way, int mtu, int header_bytes, int small_bytes) {
    if (way->tail - way->head == PLACES) return 0;  // waits in the device's own queue
    Packet *packet = &way->queue[way->tail % PLACES];
    int length = read(way->in, packet->data, mtu);
    if (length <= 0) return 0;
    if (packet->data[0] >> 4 != 4) return 1;
    int64_t entered = now();
    way->busy = (way->busy > entered ? way->busy : entered) + (int64_t)((length + header_bytes) * way->ns_per_byte);
    way->bytes += length + header_bytes;
    if (length > small_bytes) {
        uint64_t ordinal = way->counted++;
        if (way->loss > 0 && draw() < way->loss) {
            if (dropped < MOST_DROPS) drops[dropped] = ordinal;
            dropped++;
            return 1;
        }
    }
    packet->due = way->busy + way->delay;
    packet->length = length;
    way->tail++;
    return 1;
}

static void wait_for_work(Way *ways, int64_t spin, int64_t end) {
    int64_t due = end;
    for (int i = 0; i < 2; i++)
        if (ways[i].head < ways[i].tail) {
            int64_t first = ways[i].queue[ways[i].head % PLACES].due;
            if (first < due) due = first;
        }
    int64_t left = due - spin - now();
    if (left <= 0) return;
    struct pollfd files[3] = {{ways[0].in, POLLIN, 0}, {ways[1].in, POLLIN, 0}, {0, POLLIN, 0}};
    struct timespec pause = {left / 1000000000, left % 1000000000};
    ppoll(files, 3, &pause, 0);
    if (files[2].revents) ways[0].in = -1;  // whoever started it has gone
}

static double late_us(const Way *way, double share) {
    uint64_t all = 0, seen = 0;
    for (int i = 0; i <= LATE_STEPS; i++) all += way->late[i];
    for (int i = 0; i <= LATE_STEPS; i++)
        if ((seen += way->late[i]) >= share * all) return i + 1 < way->latest / 1e3 ? i + 1 : way->latest / 1e3;
    return 0;
}

static void report_way(const char *name, const Way *way) {
    printf("\"%s\": {\"packets\": %lu, \"handed_on\": %lu, \"refused\": %lu, \"bytes\": %lu, \"late_p50_us\": %.1f, "
           "\"late_p99_us\": %.1f, \"late_max_us\": %.1f}, ",
           name, way->counted, way->head, way->refused, way->bytes, late_us(way, 0.5), late_us(way, 0.99),
           way->latest / 1e3);
}

int main(int count, char **given) {
    if (count != 14) {
        fprintf(stderr, "13 arguments are expected\n");
        return 2;
    }
    int mtu = atoi(given[3]), header_bytes = atoi(given[4]), small_bytes = atoi(given[11]);
    static Way ways[2];
    int files[2] = {device(given[1]), device(given[2])};
    for (int i = 0; i < 2; i++) {
        ways[i].in = files[i];
        ways[i].out = files[1 - i];
        ways[i].ns_per_byte = 8e9 / atof(given[5 + i]);
        ways[i].delay = atoll(given[7 + i]);
        ways[i].queue = room(PLACES * sizeof(Packet));
        unsigned char *data = room((size_t)PLACES * mtu);
        for (size_t place = 0; place < PLACES; place++) ways[i].queue[place].data = data + place * mtu;
    }
    ways[0].loss = atof(given[9]);
    state = strtoull(given[10], 0, 10);
    int64_t spin = atoll(given[12]), end = now() + atoll(given[13]) * 1000000000LL;
    // what is not touched takes no memory, what was stays
    int locked = mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0;
    struct sched_param priority = {.sched_priority = 50};
    int real_time = sched_setscheduler(0, SCHED_FIFO, &priority) == 0;
    printf("ready\n");
    fflush(stdout);
    while (ways[0].in >= 0 && now() < end) {
        int busy = 0;
        for (int i = 0; i < 2; i++) {
            hand_on(&ways[i]);
            busy |= take(&ways[i], mtu, header_bytes, small_bytes);
        }
        if (!busy) wait_for_work(ways, spin, end);
    }
    printf("{");
    report_way("up", &ways[0]);
    report_way("down", &ways[1]);
    printf("\"real_time\": %s, \"locked\": %s, \"lost\": %lu, \"dropped\": [", real_time ? "true" : "false",
           locked ? "true" : "false", dropped);
    for (uint64_t i = 0; i < dropped && i < MOST_DROPS; i++) printf("%s%u", i ? ", " : "", drops[i]);
    printf("]}\n");
    return 0;
}
