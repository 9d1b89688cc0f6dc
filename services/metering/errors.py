"""What metering refuses, by name. Each `code` is also the `reason` in a verdict."""

from __future__ import annotations

from libs.runtime.errors import Broken, Conflict, NotFound, Rejected, TooLarge, Unavailable


class UnsupportedMedia(Rejected):
    """A content type or encoding that the edge does not read."""

    code = "unsupported_media"
    status = 415
    title = "The content type or encoding is not supported"


class BodyTooLarge(TooLarge):
    """The request is larger than the edge reads."""

    code = "body_too_large"


class BodyTooSlow(Rejected):
    """The body did not come within the time that one may take."""

    code = "body_too_slow"
    status = 408
    title = "The body came too slowly"


class BadBody(Rejected):
    """The body cannot be decoded at all."""

    code = "bad_body"
    title = "The body cannot be decoded"


class WrongTenant(Rejected):
    """The sender may not name this tenant, or must name one."""

    code = "wrong_tenant"
    status = 403
    title = "The sender may not act for the tenant"


class BadSpan(Rejected):
    """A span without the ids or times that usage needs."""

    code = "bad_span"
    title = "The span cannot be metered"


class BadAttributes(Rejected):
    """Attributes beyond the bounds, or two that claim one name."""

    code = "bad_attributes"
    title = "The attributes cannot be taken"


class TooOld(Rejected):
    """Older than what can still be told apart from a duplicate."""

    code = "too_old"
    title = "The event is older than the deduplication horizon allows"


class TooFarAhead(Rejected):
    """Later than the clock by more than the bound."""

    code = "too_far_ahead"
    title = "The event lies too far in the future"


class BadAmount(Rejected):
    """The number that a meter asks for is absent, not exact, or out of the meter's bounds."""

    code = "bad_amount"
    title = "The meter cannot take the number"


class BadMeter(Broken):
    """The meter configuration does not hold together."""

    code = "bad_meter"
    title = "The meter configuration is wrong"


class BadShardRecord(Rejected):
    """A record on usage-shards that no edge of ours wrote."""

    code = "bad_shard_record"
    title = "The record cannot be decoded"


class BadClose(Rejected):
    """A close whose bounds are not a month of the zone, or not on the grain of the windows."""

    code = "bad_close"
    title = "The period cannot be closed like this"


class BadQuery(Rejected):
    """A usage query that does not make sense."""

    code = "bad_query"
    title = "The query cannot be answered"


class UnknownEvent(NotFound):
    """No event stands under this id, or not for this caller."""

    code = "unknown_event"
    title = "There is no such event"


class UnknownCorrection(NotFound):
    """There is no such correction, or it is not the caller's."""

    code = "unknown_correction"
    title = "There is no such correction"


class CorrectionRaced(Conflict):
    """Another correction of the event took the number at the same time."""

    code = "correction_raced"
    title = "Another correction came at the same time"


class NoArchive(Conflict):
    """Events are corrected from the archive, and none is kept."""

    code = "no_archive"
    title = "Without an archive nothing can be corrected"


class IntakeFull(Unavailable):
    """The edge holds as many requests or bytes as it may; the sender comes back."""

    code = "intake_full"
    is_denial = True
    title = "The edge is full"


class TooMuchWaiting(Unavailable):
    """So much of the tenant's usage waits to be counted that it has to come back with more; others need not."""

    code = "too_much_waiting"
    status = 429
    title = "Too much of the tenant's usage waits to be counted"


class FrozenWindowTouched(Broken):
    """A write met a window of a closed period: the fence between batches and closes does not hold."""

    code = "frozen_window_touched"


class ArchiveUnwritable(Unavailable):
    """The archive's folder takes no files now: full, read-only, or away. What was read is read again."""

    code = "archive_unwritable"
    title = "The archive cannot be written"


class ArchiveAway(Unavailable):
    """The archive cannot be read from here: none is kept, or its folder is not there."""

    code = "archive_away"
    title = "The archive cannot be read now"


class LookupTooSlow(Unavailable):
    """The archive did not answer within the time that a request may take of it."""

    code = "lookup_too_slow"
    title = "The archive took too long"


class LookupsFull(Unavailable):
    """As many requests look into the archive as may; the caller comes back."""

    code = "lookups_full"
    is_denial = True
    title = "The archive is being read by others"


class ArchiveDamaged(Broken):
    """A file that the manifest names is not there, or not what was written."""

    code = "archive_damaged"
    title = "The archive is not what its manifest says"


class ArchivedBefore(Broken):
    """The archiver was told to read what the archive holds: it would hold it twice."""

    code = "archived_before"
    title = "The archive holds these offsets"


class MeterMoved(Conflict):
    """Another version came meanwhile, or the one that is to be followed is not there."""

    code = "meter_moved"
    title = "The meter has another newest version"


class MetersFull(Conflict):
    """There are as many meters as there can be."""

    code = "meters_full"
    title = "There is no room for another meter"
