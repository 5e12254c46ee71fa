# SPDX-License-Identifier: MIT
"""Command line: install the digit recognizer on a device, test it there, and say how to go on."""

import argparse
import sys

import edge_runtime
from apps.deploy import installation, service
from apps.deploy.deployment import Deployment
from apps.deploy.errors import DeployError
from apps.deploy.remote import Remote


def build_parser():
    """The command line's argparse.ArgumentParser."""
    parser = argparse.ArgumentParser(
        prog="python -m apps.deploy",
        usage="%(prog)s USER@HOST [--static | --python] [--service[=system]] [-- ARGUMENTS OF THE SERVICE]",
        description="Install the digit recognizer on a Raspberry Pi or another Linux device through ssh, test it "
        "there, and say how to go on. Run again, it changes only what differs.",
    )
    parser.add_argument(
        "destination", metavar="USER@HOST", help="as ssh takes it; a name of ~/.ssh/config too"
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--static",
        dest="kind",
        action="store_const",
        const="static",
        help="one C program that needs nothing there (this, if neither is said)",
    )
    kinds.add_argument(
        "--python",
        dest="kind",
        action="store_const",
        const="python",
        help="the Python package and the digit demo, in a virtual environment of their own",
    )
    parser.add_argument(
        "--service",
        metavar="SCOPE",
        choices=(service.USER, service.SYSTEM),
        help="hear from the start on, as a systemd service of that user, or with =system of the system (by sudo)",
    )
    parser.add_argument(
        "--remove", action="store_true", help="remove all that was installed there, services too"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="look, print every command that would run there, change nothing",
    )
    parser.add_argument(
        "--prefix", default=installation.DEFAULT_PREFIX, metavar="DIR", help="folder there (%(default)s)"
    )
    parser.add_argument(
        "--dist",
        metavar="DIR",
        help="take programs and wheels from this folder as they are (dist/, made if need be)",
    )
    parser.add_argument("-p", "--port", type=int, help="of ssh")
    parser.add_argument("-i", dest="identity", metavar="FILE", help="key for ssh")
    parser.add_argument(
        "-o",
        "--ssh-option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="option for ssh, as its -o",
    )
    parser.add_argument("-F", dest="configuration", metavar="FILE", help="configuration file for ssh")
    parser.add_argument("--version", action="version", version=edge_runtime.__version__)
    return parser


def _parse(words):
    """Options of the command line; what follows -- is in .arguments."""
    words = list(sys.argv[1:] if words is None else words)
    arguments = []
    if "--" in words:
        at = words.index("--")
        words, arguments = words[:at], words[at + 1 :]
    # A bare --service may stand before USER@HOST, which is no value of it.
    words = [f"--service={service.USER}" if word == "--service" else word for word in words]
    parser = build_parser()
    options = parser.parse_args(words)
    options.arguments = arguments
    if options.remove and (options.kind or options.service or options.dist):
        parser.error("--remove takes away all there is: leave out what to install")
    if arguments and not options.service:
        parser.error("arguments after -- are the service's: add --service, or leave them out")
    if any(not word.isprintable() for word in arguments):
        parser.error("arguments of the service: expected printable text")
    options.kind = options.kind or "static"
    return options


def _ssh_options(options):
    words = [word for value in options.ssh_option for word in ("-o", value)]
    if options.port is not None:
        words += ["-p", str(options.port)]
    if options.identity is not None:
        words += ["-i", options.identity]
    if options.configuration is not None:
        words += ["-F", options.configuration]
    return words


def main(arguments=None):
    """Run the command line; returns the exit status."""
    try:
        options = _parse(arguments)
        prefix = installation.check_prefix(options.prefix)
        with Remote(options.destination, _ssh_options(options), options.dry_run) as remote:
            deployment = Deployment(remote, prefix, options.kind)
            if options.remove:
                deployment.remove()
            else:
                deployment.install(options.dist, restart=not options.service)
                if options.service:
                    deployment.install_service(options.service, options.arguments)
                deployment.say_next()
    except DeployError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return error.status
    except edge_runtime.EdgeRuntimeError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("deploy: interrupted; what had arrived is removed there", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
