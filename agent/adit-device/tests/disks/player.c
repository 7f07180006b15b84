/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * Loaded into smartctl before libc: answers the ioctls that reach disks from the transcript that ADIT_TRANSCRIPT names,
 * so that smartctl reads the same bytes as our decoders. Commands are compared by what they ask for, not by how much
 * they ask for: smartctl takes other buffer sizes and sets other flag bits than we do. What was not recorded is refused.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/cciss_ioctl.h>
#include <linux/nvme_ioctl.h>
#include <scsi/sg.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

enum { EXCHANGES_MAX = 1024, SENSE_MAX = 64 };

struct exchange {
    char kind[8];
    unsigned char lun[8], cdb[16], sense[SENSE_MAX], *data;
    unsigned long cdb_len, len, sense_len, residual;
    unsigned status, opcode, nsid, cdw10;
    int used;
};
static struct exchange exchanges[EXCHANGES_MAX];
static int count = -1;

static void stop(const char *why, const char *line)
{
    fprintf(stderr, "player: %s: %s\n", why, line);
    abort();
}

static unsigned long hex(const char *text, unsigned char *out, unsigned long max)
{
    unsigned long n = 0;
    unsigned byte;
    for (; n < max && sscanf(text + 2 * n, "%2x", &byte) == 1; n++)
        out[n] = byte;
    return n;
}

static void load(void)
{
    char line[1024], a[256], b[256];
    const char *path = getenv("ADIT_TRANSCRIPT");
    FILE *file = path ? fopen(path, "r") : NULL;
    struct exchange *at = NULL;
    if (!file)
        stop("no transcript", path ? path : "ADIT_TRANSCRIPT is not set");
    for (count = 0; fgets(line, sizeof line, file);) {
        unsigned long offset;
        if (!strncmp(line, "> ", 2)) {
            if (count == EXCHANGES_MAX)
                stop("too long", path);
            at = &exchanges[count++];
            if (sscanf(line, "> scsi %255s %lu", a, &at->len) == 2) {
                strcpy(at->kind, "scsi");
                at->cdb_len = hex(a, at->cdb, sizeof at->cdb);
            } else if (sscanf(line, "> cciss %255s %255s %lu", a, b, &at->len) == 3) {
                strcpy(at->kind, "cciss");
                hex(a, at->lun, sizeof at->lun);
                at->cdb_len = hex(b, at->cdb, sizeof at->cdb);
            } else if (sscanf(line, "> nvme %x %x %x %lu", &at->opcode, &at->nsid, &at->cdw10, &at->len) == 4) {
                strcpy(at->kind, "nvme");
            } else {
                stop("what request is this", line);
            }
            at->data = calloc(1, at->len + 1);
        } else if (!strncmp(line, "< ", 2) && at) {
            if (sscanf(line, "< %x %lu %255s", &at->status, &at->residual, a) == 3)
                at->sense_len = hex(a, at->sense, SENSE_MAX);
        } else if (sscanf(line, " %lx: %255s", &offset, a) == 2 && line[0] == ' ' && at && offset < at->len) {
            hex(a, at->data + offset, at->len - offset);
        }
    }
    fclose(file);
}

static int same_cdb(const unsigned char *a, const unsigned char *b)
{
    if (a[0] != b[0])
        return 0;
    switch (a[0]) {
    case 0x85: /* features, LBA, command; neither flags nor count */
        return a[4] == b[4] && !memcmp(a + 7, b + 7, 6) && a[14] == b[14];
    case 0xa1: /* the same in the short form */
        return a[3] == b[3] && !memcmp(a + 5, b + 5, 3) && a[9] == b[9];
    case 0x12:
        return (a[1] & 1) == (b[1] & 1) && a[2] == b[2];
    case 0x4d:
        return a[2] == b[2] && a[3] == b[3];
    default:
        return 1;
    }
}

static struct exchange *find(const char *kind, const unsigned char *lun, const unsigned char *cdb,
                             const struct nvme_admin_cmd *nvme)
{
    struct exchange *last = NULL;
    if (count < 0)
        load();
    for (int i = 0; i < count; i++) {
        struct exchange *at = &exchanges[i];
        if (strcmp(at->kind, kind) || (lun && memcmp(at->lun, lun, 8)) || (cdb && !same_cdb(at->cdb, cdb)) ||
            (nvme && (at->opcode != nvme->opcode || (at->cdw10 & 0xff) != (nvme->cdw10 & 0xff))))
            continue;
        last = at;
        if (!at->used) {
            at->used = 1;
            break;
        }
    }
    return last;
}

/* Fills a buffer; tells how much of it is not filled. */
static unsigned long fill(const struct exchange *at, void *buffer, unsigned long size)
{
    unsigned long have = at->len - at->residual;
    memset(buffer, 0, size);
    if (have > size)
        have = size;
    memcpy(buffer, at->data, have);
    return size - have;
}

static int sg_io(struct sg_io_hdr *io)
{
    static const unsigned char refused[] = {0x72, 5, 0x20, 0, 0, 0, 0, 0};
    static const unsigned char aborted[] = {0x72, 0xb, 0, 0x1d, 0, 0, 0, 14, 9, 12, 0, 4,
                                            0,    0,   0, 0,    0, 0, 0, 0,  0, 0x51};
    const unsigned char *sense = io->cmdp[0] == 0x85 ? aborted : refused;
    unsigned long sense_len = io->cmdp[0] == 0x85 ? sizeof aborted : sizeof refused;
    struct exchange *at;
    if (io->interface_id != 'S') { /* version 4 of the interface: smartctl then takes version 3 */
        errno = EINVAL;
        return -1;
    }
    at = find("scsi", NULL, io->cmdp, NULL);
    io->status = at ? at->status : 2;
    io->host_status = io->driver_status = 0;
    io->resid = io->dxfer_len;
    if (at) {
        sense = at->sense;
        sense_len = at->sense_len;
        io->resid = fill(at, io->dxferp, io->dxfer_len);
    }
    io->sb_len_wr = sense_len < io->mx_sb_len ? sense_len : io->mx_sb_len;
    memcpy(io->sbp, sense, io->sb_len_wr);
    io->info = io->status ? 1 : 0;
    return 0;
}

static int nvme(struct nvme_admin_cmd *io)
{
    struct exchange *at = find("nvme", NULL, NULL, io);
    if (!at)
        return 0x4001; /* invalid opcode, do not retry */
    fill(at, (void *)(unsigned long)io->addr, io->data_len);
    io->result = 0;
    return at->status;
}

/* Illegal request, in fixed form: smartctl keeps 16 bytes. */
static const unsigned char refused_fixed[16] = {0x70, 0, 5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0x20};

static int cciss(IOCTL_Command_struct *io)
{
    const unsigned char *sense = refused_fixed;
    unsigned long sense_len = sizeof refused_fixed;
    struct exchange *at = find("cciss", io->LUN_info.LunAddrBytes, io->Request.CDB, NULL);
    memset(&io->error_info, 0, sizeof io->error_info);
    if (at && !at->status) {
        fill(at, io->buf, io->buf_size);
        return 0;
    }
    io->error_info.ScsiStatus = at ? at->status : 2;
    /* smartctl takes the ioctl's own answer for the status and the buffer for the sense. */
    if (at) {
        sense = at->sense;
        sense_len = at->sense_len;
    }
    memset(io->buf, 0, io->buf_size);
    memcpy(io->buf, sense, sense_len < io->buf_size ? sense_len : io->buf_size);
    return 2;
}

int ioctl(int fd, unsigned long request, ...)
{
    int (*next)(int, unsigned long, void *) = (int (*)(int, unsigned long, void *))dlsym(RTLD_NEXT, "ioctl");
    va_list list;
    void *argument;
    va_start(list, request);
    argument = va_arg(list, void *);
    va_end(list);
    switch (request) {
    case SG_IO:
        return sg_io(argument);
    case NVME_IOCTL_ADMIN_CMD:
        return nvme(argument);
    case NVME_IOCTL_ID:
        return 0;
    case CCISS_PASSTHRU:
        return cciss(argument);
    default:
        return next(fd, request, argument);
    }
}
