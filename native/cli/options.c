/* SPDX-License-Identifier: MIT */
#include "options.h"

#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char OPTIONS_HELP[] =
    "usage: edge-digits [options]\n"
    "\n"
    "Recognize spoken English digits (zero, oh, one ... nine) from the microphone, until Ctrl-C, or from a file.\n"
    "The same words, times and confidences as `python -m apps.digit_demo`, bit for bit, without Python.\n"
    "\n"
    "audio\n"
    "  -i, --input FILE        recognize a WAV file instead; - is a WAV on standard input\n"
    "      --raw               the input is bare 16-bit little-endian samples of one channel, at -r HZ (16000)\n"
    "      --realtime          play the file of -i at its own pace\n"
    "  -d, --device ID|NAME    input device: its number in -l, part of its name, or ALSA's, such as\n"
    "                          plughw:CARD=Webcam,DEV=0\n"
    "  -l, --list-devices      list input devices and end\n"
    "  -r, --samplerate HZ     open the device at this rate (its own)\n"
    "      --arecord           hear through ALSA's program arecord, not its library; a static program always does\n"
    "      --reconnect SECONDS wait this long for a microphone that was unplugged (until it is back)\n"
    "      --no-reconnect      do not: end with status 2\n"
    "      --save-audio DIR    keep what was heard as WAV in this folder, and the words beside it\n"
    "      --save-limit GB     delete the oldest recordings of that folder beyond this (2)\n"
    "\n"
    "recognizer\n"
    "  -m, --model FILE        model file (the one built in)\n"
    "      --small             the built-in model of less than 32 KB\n"
    "      --kernel NAME       such as scalar (the best for this CPU)\n"
    "      --threshold X       drop words of less confidence, 0 to 1 (the model's)\n"
    "\n"
    "output\n"
    "      --json              one JSON object per word on standard output\n"
    "      --plain             a line per word, on a terminal too\n"
    "      --exec CMD          run this for every word, without a shell; {word} {digit} {confidence} {start} {end} are\n"
    "                          replaced, or the word is appended; also in the environment, DIGIT_DEMO_WORD ...\n"
    "  -q, --quiet             words and errors only\n"
    "  -v, --verbose           times, confidences, ALSA's messages\n"
    "\n"
    "checks\n"
    "      --self-test         recognize the built-in recording, or that of -i, with every kernel of this CPU; print its\n"
    "                          words and, per kernel, the number and CRC-32 of the logits, which are the same\n"
    "                          on every machine: of all steps, int16 little-endian. Status 1 if kernels differ, or\n"
    "                          built-in words are not those said\n"
    "      --logits            print the integer logits of the recording of -i instead, a step a line\n"
    "      --doctor            check program, devices, permissions and level; say what to do\n"
    "  -h, --help, --version\n"
    "\n"
    "Words go to standard output, everything else to standard error. Exit status: 0; 2 after a line that says what is\n"
    "wrong; --doctor and --self-test: 1 if they found something.\n";

enum {
    RAW = 256,
    REALTIME,
    ARECORD,
    RECONNECT,
    NO_RECONNECT,
    SAVE_AUDIO,
    SAVE_LIMIT,
    SMALL,
    KERNEL,
    THRESHOLD,
    JSON,
    PLAIN,
    EXEC,
    SELF_TEST,
    LOGITS,
    DOCTOR,
    VERSION
};

static const struct option KNOWN[] = {
    {"input", required_argument, NULL, 'i'},
    {"raw", no_argument, NULL, RAW},
    {"realtime", no_argument, NULL, REALTIME},
    {"device", required_argument, NULL, 'd'},
    {"list-devices", no_argument, NULL, 'l'},
    {"samplerate", required_argument, NULL, 'r'},
    {"arecord", no_argument, NULL, ARECORD},
    {"reconnect", required_argument, NULL, RECONNECT},
    {"no-reconnect", no_argument, NULL, NO_RECONNECT},
    {"save-audio", required_argument, NULL, SAVE_AUDIO},
    {"save-limit", required_argument, NULL, SAVE_LIMIT},
    {"model", required_argument, NULL, 'm'},
    {"small", no_argument, NULL, SMALL},
    {"kernel", required_argument, NULL, KERNEL},
    {"threshold", required_argument, NULL, THRESHOLD},
    {"json", no_argument, NULL, JSON},
    {"plain", no_argument, NULL, PLAIN},
    {"exec", required_argument, NULL, EXEC},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
    {"self-test", no_argument, NULL, SELF_TEST},
    {"logits", no_argument, NULL, LOGITS},
    {"doctor", no_argument, NULL, DOCTOR},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0},
};

/* A whole number or a fraction within bounds; what: the flag. */
static int parse_number(const char *what, const char *expected, double least, double most, double *value_out,
                        struct problem *problem)
{
    char *end;
    const double value = strtod(optarg, &end);

    if (end == optarg || *end != '\0' || !(value >= least && value <= most)) {
        return problem_set(problem, "%s: expected %s, got %s", what, expected, optarg);
    }
    *value_out = value;
    return 0;
}

/* One flag. */
static int take(struct options *options, int flag, struct problem *problem)
{
    double value = 0.0;
    int status = 0;

    switch (flag) {
    case 'i': options->input = optarg; break;
    case 'd': options->device = optarg; break;
    case 'm': options->model = optarg; break;
    case 'l': options->list_devices = 1; break;
    case 'q': options->quiet = 1; break;
    case 'v': options->verbose = 1; break;
    case 'h': options->help = 1; break;
    case VERSION: options->version = 1; break;
    case RAW: options->raw = 1; break;
    case REALTIME: options->realtime = 1; break;
    case ARECORD: options->arecord = 1; break;
    case NO_RECONNECT: options->reconnect_s = 0.0; break;
    case SAVE_AUDIO: options->save_audio = optarg; break;
    case SMALL: options->small = 1; break;
    case KERNEL: options->kernel = optarg; break;
    case JSON: options->json = 1; break;
    case PLAIN: options->plain = 1; break;
    case EXEC: options->exec = optarg; break;
    case SELF_TEST: options->self_test = 1; break;
    case LOGITS: options->logits = 1; break;
    case DOCTOR: options->doctor = 1; break;
    case 'r':
        status = parse_number("--samplerate", "a rate in Hz", 1.0, 4e9, &value, problem);
        options->sample_rate = (uint32_t)value;
        break;
    case RECONNECT:
        status = parse_number("--reconnect", "seconds", 0.0, 1e9, &options->reconnect_s, problem);
        break;
    case SAVE_LIMIT:
        status = parse_number("--save-limit", "0.01 GB or more", 0.01, 1e9, &options->save_limit_gb, problem);
        break;
    case THRESHOLD:
        status = parse_number("--threshold", "0 to 1", 0.0, 1.0, &options->threshold, problem);
        break;
    default:
        return FAILED;
    }
    return status;
}

/* Flags that contradict each other, or lack another. */
static int check(const struct options *options, struct problem *problem)
{
    if (options->small && options->model != NULL) {
        return problem_set(problem, "--small: not allowed with --model");
    }
    if (options->doctor && options->input != NULL) {
        return problem_set(problem, "--doctor listens to a microphone: leave out -i");
    }
    if (options->logits && options->input == NULL) {
        return problem_set(problem, "--logits: expected a recording, by -i FILE");
    }
    if (options->raw && options->input == NULL) {
        return problem_set(problem, "--raw: expected bare samples, by -i FILE or -i -");
    }
    return 0;
}

/* A flag that getopt does not know (optopt is 0 or a letter), that lacks a value, or has one too many. */
static int refuse(int flag, char **argv, struct problem *problem)
{
    const struct option *known = KNOWN;

    while (known->name != NULL && known->val != optopt) {
        known++;
    }
    if (optopt != 0 && known->name != NULL) {
        return problem_set(problem, "--%s: expected %s; see --help", known->name,
                           flag == ':' ? "a value" : "no value");
    }
    if (optopt != 0) {
        return problem_set(problem, "unknown flag -%c; see --help", optopt);
    }
    return problem_set(problem, "unknown flag %s; see --help", argv[optind - 1]);
}

int options_parse(struct options *options, int argc, char **argv, struct problem *problem)
{
    int flag;

    memset(options, 0, sizeof *options);
    options->save_limit_gb = 2.0;
    options->reconnect_s = (double)INFINITY;
    options->threshold = -1.0;
    opterr = 0;
    while ((flag = getopt_long(argc, argv, ":i:d:lr:m:qvh", KNOWN, NULL)) != -1) {
        if (flag == ':' || flag == '?') {
            return refuse(flag, argv, problem);
        }
        if (take(options, flag, problem) != 0) {
            return FAILED;
        }
        if (options->help || options->version) {
            return 0;
        }
    }
    if (optind < argc) {
        return problem_set(problem, "%s: unexpected; a file is named by -i FILE; see --help", argv[optind]);
    }
    return check(options, problem);
}
