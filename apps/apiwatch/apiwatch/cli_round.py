"""Commands of a round over a network: keys, the agreement, the server, a site."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import ssl
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from protocols.files import locked

from apiwatch.agreement import Agreement, load_key, new_key, write_secret
from apiwatch.alone import keep_alone, learnt_alone
from apiwatch.channel import Address, client_tls, server_tls
from apiwatch.class_round import What
from apiwatch.classes import BENIGN
from apiwatch.cli_shared import PROFILE, LogFormat, ProfileFile, examples_of, requests_of, say
from apiwatch.coordinator import Coordinator
from apiwatch.errors import AgreementUnreadable, ParameterError, RoundFailed
from apiwatch.pending import Pending, pending_file
from apiwatch.settings import Settings
from apiwatch.shared_classes import SharedClasses
from apiwatch.site import Joined, Site
from apiwatch.store import Profile
from apiwatch.table import gather

__all__ = ["rounds"]

rounds = typer.Typer(no_args_is_help=True, help="Learn together over a network.")

_AgreementFile = Annotated[
    Path, typer.Argument(metavar="AGREEMENT", help="As `round agree` writes it.")
]
_KeyFile = Annotated[Path, typer.Option("--key", help="Of `round key`.")]
_SaltFile = Annotated[Path, typer.Option("--salt", help="Of `round agree`; the sites' alone.")]
_Certificate = Annotated[Path | None, typer.Option(help="Own certificate, PEM.")]
_Authority = Annotated[Path | None, typer.Option(help="Who signs the server's certificate, PEM.")]
_Patience = Annotated[float, typer.Option(help="Seconds to wait for the server.", min=0.1)]
_CertificateKey = Annotated[Path | None, typer.Option(help="Its key, PEM.")]


class _What(StrEnum):
    """As a person says it."""

    PROFILE = "profile"
    NAMES = "names"
    BOTH = "both"


_Classes = Annotated[
    Path | None, typer.Option(help="Where the class sums are kept; by default AGREEMENT.classes.")
]
_FLAGS = {
    _What.PROFILE: What.PROFILE,
    _What.NAMES: What.CLASSES,
    _What.BOTH: What.PROFILE | What.CLASSES,
}
_CLAIMED = "site number = public key in hexadecimal"


@rounds.command()
def key(
    file: Annotated[Path, typer.Argument(help="Where to write it; no file must be there.")],
) -> None:
    """Make a key for the server or a site, and print its public half."""
    typer.echo(new_key(file).public.hex())


@rounds.command()
def agree(
    file: Annotated[Path, typer.Argument(metavar="AGREEMENT", help="Where to write it.")],
    *,
    server: Annotated[str, typer.Option(help="The server's public key.")],
    site: Annotated[list[str], typer.Option(help="NUMBER=KEY of each site, 5 or more.")],
    salt: _SaltFile,
    cells: Annotated[
        int, typer.Option(help="log2 of the counters.", min=8, max=24)
    ] = Settings.cells,
    slots: Annotated[
        int, typer.Option(help="log2 of the contexts.", min=4, max=20)
    ] = Settings.slots,
    support: Annotated[int, typer.Option(help="Sites that must agree on a cell.", min=1)] = 1,
    corrupt: Annotated[float, typer.Option(help="Sites that may collude, a fraction.")] = 0.2,
    dropout: Annotated[float, typer.Option(help="Sites that may be lost, a fraction.")] = 0.25,
) -> None:
    """Write what all agree on, and a new salt for the sites."""
    secret = os.urandom(32)
    settings = Settings(cells=cells, slots=slots, support=support, salt=secret)
    claims = [claim.partition("=") for claim in site]
    if not all(number.isdecimal() for number, _, _ in claims):
        raise ParameterError(f"{_CLAIMED} must hold")
    sites = {int(number): _bytes(public, _CLAIMED) for number, _, public in claims}
    if len(sites) != len(site):
        raise ParameterError("every site number once must hold")
    made = Agreement.of(
        settings,
        _bytes(server, "server key in hexadecimal"),
        sites,
        corrupt=corrupt,
        dropout=dropout,
    )
    if file.exists():  # it may know who has left
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(file))
    write_secret(salt, secret)
    made.save(file)
    scheme = made.counting(bytes(16)).scheme
    say(
        f"{len(sites)} sites, of which {scheme.clients - scheme.survivors} may be lost; "
        f"at least {scheme.honest_inputs} honest sites are in every sum"
    )


@rounds.command()
def leave(
    agreement: _AgreementFile,
    *,
    site: Annotated[int, typer.Option(help="Who leaves, by its number in the agreement.", min=1)],
    classes: _Classes = None,
) -> None:
    """Take a site out of the agreement. Give the file to those that stay: what they learn begins
    anew, from their logs and the examples that they have given, and is what it were without it.
    """
    kept = classes or _classes_of(agreement)
    with locked(agreement):  # of two that leave at once, both have left
        made = Agreement.load(agreement).without(site)
        SharedClasses.load(kept)  # what is no such file is refused before anything is written
        made.save(agreement)  # from here on `serve` begins anew, whatever class sums there are
        if kept.is_file():
            SharedClasses(era=made.era).save(kept, SharedClasses.load(kept))
    say(f"{len(made.roster.clients)} sites stay; each joins with all of its logs, without --more")


@rounds.command()
def serve(
    agreement: _AgreementFile,
    *,
    key: _KeyFile,
    what: Annotated[_What, typer.Option(help="What is summed.")] = _What.PROFILE,
    classes: _Classes = None,
    listen: Annotated[str, typer.Option(help="host:port; port 0 is any.")] = "127.0.0.1:7443",
    wait: Annotated[float, typer.Option(help="Seconds for sites to come.", min=0.1)] = 60.0,
    phase: Annotated[float, typer.Option(help="Seconds for each later step.", min=0.1)] = 30.0,
    tls_certificate: _Certificate = None,
    tls_key: _CertificateKey = None,
    tls_sites: Annotated[
        Path | None, typer.Option(help="Who signs sites' certificates; they must show one.")
    ] = None,
) -> None:
    """Serve one learning, whoever of the sites comes and stays. It needs no salt."""
    tls: ssl.SSLContext | None = None
    if tls_certificate is not None:
        tls = server_tls(tls_certificate, tls_key or tls_certificate, tls_sites)
    agreed, kept = Agreement.load(agreement), classes or _classes_of(agreement)
    found = SharedClasses.load(kept)
    coordinator = Coordinator(
        agreement=agreed,
        identity=load_key(key),
        what=_FLAGS[what],
        shared=_since_the_last_left(agreed, found),
        kept=lambda made: made.save(kept, found),
        wait=wait,
        phase=phase,
        told=say,
    )
    outcome = asyncio.run(coordinator.serve(Address.parse(listen), tls))
    typer.echo(json.dumps(asdict(outcome)))
    if outcome.missing:
        raise RoundFailed(f"the profile is there, and no names: {outcome.missing}")


@rounds.command()
def join(
    agreement: _AgreementFile,
    logs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[LOG…]", help="Logs; none where names alone are summed."),
    ] = None,
    *,
    key: _KeyFile,
    salt: _SaltFile,
    site: Annotated[int, typer.Option(help="This site's number in the agreement.", min=1)],
    server: Annotated[str, typer.Option(help="host:port.")] = "127.0.0.1:7443",
    profile: ProfileFile = PROFILE,
    examples: Annotated[
        Path | None,
        typer.Option(help="JSON lines of 'value' and 'label', as for `teach`; counted once."),
    ] = None,
    more: Annotated[bool, typer.Option(help="Add to the profile that is there.")] = False,
    patience: _Patience = 300.0,
    log_format: LogFormat = None,
    tls_authority: _Authority = None,
    tls_certificate: _Certificate = None,
    tls_key: _CertificateKey = None,
) -> None:
    """Add what these logs and examples teach, and write the profile that those of all give."""
    agreed = Agreement.load(agreement)
    tls = client_tls(tls_authority, tls_certificate, tls_key) if tls_authority else None
    counts = gather(requests_of(logs, log_format)) if logs else None
    last = Profile.load(profile) if more or counts is None or profile.is_file() else None
    before = last if more or counts is None else None
    alone = learnt_alone(before, profile) if before else None
    pending = Pending(pending_file(profile), agreed.era)
    member = Site(
        agreement=agreed,
        identity=load_key(key),
        me=site,
        settings=agreed.settings_with(_salt(salt)),
        counts=counts,
        before=before,
        last=last,
        pending=pending,
        examples=list(examples_of(examples)) if examples else (),
        patience=patience,
        told=say,
    )
    joined = asyncio.run(member.join(Address.parse(server), tls))
    _keep(joined.profile, last, profile)
    if counts is not None:
        keep_alone(joined.profile, profile, counts, before=alone)
    _tell_gone(last, joined.profile)
    _tell(joined, profile, pending)


def _classes_of(agreement: Path) -> Path:
    return agreement.with_name(f"{agreement.name}.classes")


def _since_the_last_left(agreed: Agreement, found: SharedClasses) -> SharedClasses:
    """The class sums, or none where a site has left that is in them.

    Raises `ParameterError` where sites have left them that are in the agreement.
    """
    if found.is_blank or found.era == agreed.era:
        return found
    if found.era not in agreed.eras:
        raise ParameterError("the agreement by which the class sums were made must be given")
    if found.sums is not None:
        say("a site has left that is in the class sums: they begin anew")
    return SharedClasses(era=agreed.era)


def _keep(made: Profile, last: Profile | None, path: Path) -> None:
    """Write the profile, whatever another command has: its sums cannot be had again."""
    if last is not None and last.is_changed(path):
        say(f"{path} was changed during the round: what another command wrote is gone")
    made.save(path, anyway=True)


def _tell_gone(last: Profile | None, made: Profile) -> None:
    """What the profile of before had and the one that took its place has not."""
    if last is None:
        return
    names = set(last.classes.labels if last.classes else ()) - {BENIGN}
    if gone := sorted(names - set(made.classes.labels if made.classes else ())):
        say(f"no longer named: {', '.join(gone)}")
    if last.threshold != made.threshold:
        say(f"the threshold was {last.threshold:.2f} and is {made.threshold:.2f}: `threshold`")


def _tell(joined: Joined, profile: Path, pending: Pending) -> None:
    """What has come out, and for a script what all sites have alike. Raises what is missing."""
    if joined.digest:
        counted, calibrated = len(joined.counted), len(joined.calibrated)
        say(f"{counted} sites counted, {calibrated} calibrated; {profile}")
        typer.echo(joined.digest)
    if joined.named is not None:
        names = ", ".join(f"{count} of {name}" for name, count in joined.named.names.items())
        say(f"{len(joined.named.sites)} sites named {names or 'nothing'}; {profile}")
        typer.echo(joined.named.shared.sums_digest)
    if pending.pairs:
        say(f"{len(pending.pairs)} examples wait in {pending.path} for the next round of names")
    if joined.missing is not None:
        raise joined.missing


def _bytes(text: str, meaning: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ParameterError(f"{meaning} must hold") from None


def _salt(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise AgreementUnreadable(f"{path} is a salt and readable by others: chmod 600")
    try:
        return bytes.fromhex(path.read_text("ascii").strip())
    except ValueError:
        raise AgreementUnreadable(f"{path} is no salt") from None
