/* cmd_doctor.c - what works here. The keeper program looks: it has all layers. */
#include "cli/start.h"

static int run(int argc, char **argv)
{
	struct cli_args args = { .max = 0 };
	cli_parse(&args, NULL, "",
		  "What works on this machine, and what to do about what does not.\v"
		  "Exits with 1 if no sandbox can be made.",
		  argc, argv);
	struct err e = ERR_INIT;
	char *tool[] = { "mulligan-keeper", args.json ? "--doctor-json" : "--doctor", NULL };
	int code = start_tool(tool, &e);
	return code < 0 ? cli_fail(&args, &e) : code;
}

const struct cli_command cmd_doctor = { "doctor", "", "what works here, and the remedies", run };
