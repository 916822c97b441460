"""Files of Reelstore from Python: the library libreel through ctypes.

    import reel
    with reel.Client("media1:21000", user="alice") as client:
        id = client.upload("film.mp4")
        print(client.stat(id).size)
        client.download(id, "copy.mp4")

Calls block, without holding Python's lock; a client may be used by several threads, and by the process that made it only. What fails
raises reel.Error, whose code is the protocol's number; callbacks run in the calling thread, and what they raise ends the call and
is raised there. Ctrl-C ends an upload or download of the main thread while bytes are on their way.
"""
from __future__ import annotations

import ctypes
import ctypes.util
import datetime
import io
import json
import math
import os
import signal
import threading
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable, Iterator, Optional, Union

__all__ = ["Client", "Error", "NotFound", "Exists", "Deleted", "Unavailable", "DigestMismatch", "Refused", "QuotaExceeded", "File",
           "Quota", "UserQuota", "version"]

_Path = Union[str, "os.PathLike[str]"]
Progress = Callable[[int, int], None]


class _Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("errnum", ctypes.c_int), ("text", ctypes.c_char * 512), ("reserved", ctypes.c_int64 * 2)]


_Remark = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)
_Progress = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_Data = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _Options(ctypes.Structure):
    _fields_ = [("trackers", ctypes.c_char_p), ("application", ctypes.c_char_p), ("user", ctypes.c_char_p),
                ("connect_timeout_ms", ctypes.c_int64), ("call_timeout_ms", ctypes.c_int64), ("progress_timeout_ms", ctypes.c_int64),
                ("tries", ctypes.c_int), ("connections", ctypes.c_size_t), ("hedge_ms", ctypes.c_int64), ("remark", _Remark),
                ("remark_argument", ctypes.c_void_p), ("async_threads", ctypes.c_size_t), ("tls_ca", ctypes.c_char_p),
                ("keys", ctypes.c_char_p), ("token", ctypes.c_char_p), ("auth", ctypes.c_int64), ("group", ctypes.c_char_p),
                ("moves_from", ctypes.c_char_p), ("request", ctypes.c_char_p), ("traced", ctypes.c_int64),
                ("reserved", ctypes.c_int64 * 4)]


class _Key(ctypes.Structure):
    _fields_ = [("application", ctypes.c_char_p), ("user", ctypes.c_char_p), ("file", ctypes.c_char_p)]


class _File(ctypes.Structure):
    _fields_ = [("file", ctypes.c_char * 128), ("size", ctypes.c_int64), ("deleted", ctypes.c_bool), ("created_time", ctypes.c_int64),
                ("deleted_time", ctypes.c_int64), ("digest", ctypes.c_char * 33), ("content_type", ctypes.c_char * 128),
                ("name", ctypes.c_char * 256), ("group", ctypes.c_char * 17), ("expires_time", ctypes.c_int64),
                ("reserved", ctypes.c_int64 * 7)]


class _Upload(ctypes.Structure):
    _fields_ = [("application", ctypes.c_char_p), ("user", ctypes.c_char_p), ("file", ctypes.c_char_p), ("name", ctypes.c_char_p),
                ("content_type", ctypes.c_char_p), ("progress", _Progress), ("argument", ctypes.c_void_p), ("preparing", _Progress),
                ("state", ctypes.c_char_p), ("expires", ctypes.c_int64), ("pieces", ctypes.c_short), ("fresh", ctypes.c_bool),
                ("piece_kib", ctypes.c_int), ("reserved", ctypes.c_int64)]


class _Download(ctypes.Structure):
    _fields_ = [("key", _Key), ("offset", ctypes.c_int64), ("size", ctypes.c_int64), ("verify", ctypes.c_bool), ("resume", ctypes.c_bool),
                ("progress", _Progress), ("argument", ctypes.c_void_p), ("exclusive", ctypes.c_bool), ("reserved", ctypes.c_int64 * 3)]


class _Quota(ctypes.Structure):
    _fields_ = [("bytes_used", ctypes.c_int64), ("files_used", ctypes.c_int64), ("bytes", ctypes.c_int64), ("files", ctypes.c_int64),
                ("own_bytes", ctypes.c_bool), ("own_files", ctypes.c_bool), ("reserved", ctypes.c_int64 * 4)]


_Each = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.POINTER(_File))
_EachQuota = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(_Quota), ctypes.c_int64)


def _load() -> ctypes.CDLL:
    """The library: REEL_LIBRARY, else libreel.so.0 where the system finds it."""
    library = ctypes.CDLL(os.environ.get("REEL_LIBRARY") or "libreel.so.0")
    handle, key, error = ctypes.c_void_p, ctypes.POINTER(_Key), ctypes.POINTER(_Error)
    for name, result, arguments in (
            ("version", ctypes.c_char_p, []), ("error_name", ctypes.c_char_p, [ctypes.c_int]),
            ("open", handle, [ctypes.POINTER(_Options), error]), ("close", None, [handle]), ("cancel", None, [handle]),
            ("upload_path", ctypes.c_bool, [handle, ctypes.POINTER(_Upload), ctypes.c_char_p, ctypes.c_char_p, error]),
            ("upload_fd", ctypes.c_bool, [handle, ctypes.POINTER(_Upload), ctypes.c_int, ctypes.c_int64, ctypes.c_char_p, error]),
            ("upload_memory", ctypes.c_bool, [handle, ctypes.POINTER(_Upload), ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, error]),
            ("download_path", ctypes.c_bool, [handle, ctypes.POINTER(_Download), ctypes.c_char_p, error]),
            ("download_callback", ctypes.c_bool, [handle, ctypes.POINTER(_Download), _Data, ctypes.c_void_p, error]),
            ("size", ctypes.c_bool, [handle, key, ctypes.POINTER(ctypes.c_int64), error]),
            ("stat", ctypes.c_bool, [handle, key, ctypes.POINTER(_File), error]), ("delete", ctypes.c_bool, [handle, key, error]),
            ("restore", ctypes.c_bool, [handle, key, error]),
            ("rename", ctypes.c_bool, [handle, key, ctypes.c_char_p, error]),
            ("expire", ctypes.c_bool, [handle, key, ctypes.c_int64, ctypes.POINTER(ctypes.c_int64), error]),
            ("quota", ctypes.c_bool, [handle, key, ctypes.POINTER(_Quota), error]), ("request", ctypes.c_char_p, [handle]),
            ("list", ctypes.c_bool, [handle, key, ctypes.c_bool, _Each, ctypes.c_void_p, error]),
            ("group_quotas", ctypes.c_bool, [handle, _EachQuota, ctypes.c_void_p, error]),
            ("status", ctypes.c_void_p, [handle, error]), ("free", None, [ctypes.c_void_p]),
            ("url", ctypes.c_void_p, [handle, key, ctypes.c_char_p, ctypes.c_char_p, error])):
        function = getattr(library, "reel_" + name)
        function.restype, function.argtypes = result, arguments
    return library


_library = _load()


class Error(Exception):
    """A call that failed: `code` (enum reel_error_code), `name`, `errno` of a failed system call here, or None."""

    def __init__(self, code: int, text: str, errno: Optional[int] = None) -> None:
        super().__init__(text)
        self.code, self.errno = code, errno
        self.name: str = _library.reel_error_name(code).decode()


class NotFound(Error):
    """There is no such file or user."""


class Exists(Error):
    """The file ID is taken by other bytes, or the path by a file."""


class Deleted(Error):
    """The file is deleted; restore() brings it back."""


class Unavailable(Error):
    """Not now; trying again later may help."""


class DigestMismatch(Error):
    """The bytes are not those that were stored."""


class Refused(Error):
    """Not allowed."""


class QuotaExceeded(Error):
    """The user has as much as is allowed; what is deleted counts until it is purged."""


_CLASSES = {-4: NotFound, -5: Exists, -6: Deleted, -9: Unavailable, -10: Unavailable, -11: DigestMismatch, -12: Refused, -14: Unavailable,
            -15: Unavailable, -22: QuotaExceeded}


def _raise(error: _Error) -> None:
    raise _CLASSES.get(error.code, Error)(error.code, error.text.decode(errors="replace"), error.errnum or None)


def version() -> str:
    """The version of the library."""
    text: bytes = _library.reel_version()
    return text.decode()


@dataclass(frozen=True)
class File:
    """What is known about a stored file; "" and None where it is not known."""
    id: str
    size: int
    deleted: bool
    created: Optional[datetime.datetime]
    deleted_at: Optional[datetime.datetime]
    digest: str
    content_type: str
    name: str
    group: str
    expires: Optional[datetime.datetime]


@dataclass(frozen=True)
class Quota:
    """What a user has and may have; None: it is not counted, there is no limit."""
    bytes_used: Optional[int]
    files_used: Optional[int]
    bytes: Optional[int]
    files: Optional[int]


@dataclass(frozen=True)
class UserQuota:
    """One of those whose files a group counts. held: bytes in unfinished uploads."""
    application: str
    user: str
    quota: Quota
    held: int


def _quota(quota: _Quota) -> Quota:
    return Quota(*(None if number < 0 else number for number in (quota.bytes_used, quota.files_used, quota.bytes, quota.files)))


def _time(seconds: int) -> Optional[datetime.datetime]:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc) if seconds else None


def _file(file: _File) -> File:
    return File(_str(file.file), file.size, file.deleted, _time(file.created_time), _time(file.deleted_time), file.digest.decode(),
                _str(file.content_type), _str(file.name), _str(file.group), _time(file.expires_time))


NEVER = 2**63 - 1

# When a file is deleted: a time, so long after now, NEVER; None: as the servers are configured.
Expires = Union[datetime.datetime, datetime.timedelta, int, None]


def _expires(expires: Expires) -> int:
    if isinstance(expires, datetime.timedelta):
        return -math.ceil(expires.total_seconds())
    if isinstance(expires, datetime.datetime):
        return math.ceil(expires.timestamp())
    return expires or 0


def _whole(encoded: bytes) -> bytes:
    """C would read what stands before a NUL, and mean another file."""
    if b"\0" in encoded:
        raise ValueError("a NUL inside of a name or path")
    return encoded


def _bytes(text: Optional[str]) -> Optional[bytes]:
    """As the servers have it, whatever the locale: UTF-8, and bytes that are none as _str() gave them."""
    return None if text is None else _whole(text.encode(errors="surrogateescape"))


def _str(encoded: bytes) -> str:
    return encoded.decode(errors="surrogateescape")


def _path(path: _Path) -> bytes:
    return _whole(os.fsencode(path))


class _Guard:
    """Carries what a callback raised past the C code, which is asked to stop; and Ctrl-C, which Python would raise on the way into a
    callback, where nobody can catch it."""

    def __init__(self) -> None:
        self.raised: Optional[BaseException] = None
        self.before: Any = None  # the handler of SIGINT

    def __enter__(self) -> _Guard:
        if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self.before = signal.signal(signal.SIGINT, self.interrupted)
        return self

    def __exit__(self, *_: object) -> None:
        if self.before:
            signal.signal(signal.SIGINT, self.before)

    def interrupted(self, *_: object) -> None:
        self.raised = KeyboardInterrupt()

    def call(self, function: Callable[..., Any], *arguments: Any) -> bool:
        try:
            if not self.raised:
                function(*arguments)
        except BaseException as raised:  # it goes on in end()
            self.raised = raised
        return not self.raised

    def end(self, done: bool, error: _Error) -> None:
        if self.raised:
            raise self.raised
        if not done:
            _raise(error)

    def progress(self, function: Optional[Progress]) -> Any:
        """Also without FUNCTION, in the main thread: Python looks at signals only where it runs."""
        if not function and not self.before:
            return ctypes.cast(0, _Progress)
        called = function or (lambda done, total: None)
        return _Progress(lambda _, done, total: self.call(called, done, total))


def _content(file: BinaryIO) -> Union[int, bytes]:
    """Where the library reads what is left of an open file: its descriptor, set to where Python reads, which may have read ahead;
    or the bytes of one that has none."""
    if isinstance(file, io.TextIOBase):
        raise TypeError("a file that is open for text: open it with \"rb\"")
    try:
        descriptor = file.fileno()
    except OSError:  # of memory, of an archive
        return file.read()
    if file.seekable():
        if file.writable():
            file.flush()
        os.lseek(descriptor, file.tell(), os.SEEK_SET)
    return descriptor


class Client:
    """A handle of the library. Times are in seconds. keys and token, where they are not given, are those of the environment
    (REEL_KEYS, REEL_TOKEN). Under `request`, 32 hex digits or a W3C traceparent, its calls stand in the servers' logs; traced: also those that
    succeed. With a `group` its servers are asked, whoever the user is: for operators."""

    def __init__(self, trackers: str, *, user: Optional[str] = None, application: Optional[str] = None, connect_timeout: float = 0,
                 call_timeout: float = 0, progress_timeout: float = 0, hedge_time: float = 0, tries: int = 0,
                 remark: Optional[Callable[[str], None]] = None, tls_ca: Optional[str] = None, keys: Optional[str] = None,
                 token: Optional[str] = None, request: Optional[str] = None, traced: bool = False, group: Optional[str] = None) -> None:
        report = remark or (lambda text: None)
        self._remark = _Remark(lambda _, text: report(text.decode(errors="replace")))
        options = _Options(trackers=_bytes(trackers), application=_bytes(application), user=_bytes(user),
                           connect_timeout_ms=int(connect_timeout * 1000), call_timeout_ms=int(call_timeout * 1000),
                           progress_timeout_ms=int(progress_timeout * 1000), hedge_ms=int(hedge_time * 1000), tries=tries, remark=self._remark,
                           tls_ca=_bytes(tls_ca), keys=_bytes(keys), token=_bytes(token), request=_bytes(request), traced=int(traced),
                           group=_bytes(group))
        error = _Error()
        self._handle: Optional[int] = _library.reel_open(options, error)
        if not self._handle:
            _raise(error)

    def close(self) -> None:
        """Ends the client; no call may be under way. A second time is nothing."""
        handle, self._handle = self._handle, None
        if handle:
            _library.reel_close(handle)

    def cancel(self) -> None:
        """From another thread: calls under way fail soon."""
        _library.reel_cancel(self._open())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def _open(self) -> int:
        if not self._handle:
            raise ValueError("the client is closed")
        return self._handle

    def upload(self, what: Union[_Path, bytes, BinaryIO], *, file_id: Optional[str] = None, name: Optional[str] = None,
               content_type: Optional[str] = None, user: Optional[str] = None, application: Optional[str] = None,
               progress: Optional[Progress] = None, expires: Expires = None, state: Optional[_Path] = None, pieces: int = 1) -> str:
        """Stores a file of this path, these bytes, or what is left to read of a binary file that is open (of a pipe: nothing may have been read
        of it before); the file ID. When it
        returns, the file is stored once, whole, and safely on disk. With a FILE_ID, repeating it is safe. STATE: a file in which what
        is needed to go on with an interrupted upload of the same file is kept until it is stored. PIECES: a large content goes in so
        many at the same time (at most 16)."""
        guard, error, id = _Guard(), _Error(), ctypes.create_string_buffer(128)
        with guard:
            upload = _Upload(application=_bytes(application), user=_bytes(user), file=_bytes(file_id), name=_bytes(name),
                             content_type=_bytes(content_type), progress=guard.progress(progress), expires=_expires(expires),
                             state=_path(state) if state is not None else None, pieces=max(1, min(pieces, 16)))
            if isinstance(what, (str, os.PathLike)):
                done = _library.reel_upload_path(self._open(), upload, _path(what), id, error)
            elif isinstance(what, (bytes, bytearray, memoryview)):
                done = _library.reel_upload_memory(self._open(), upload, bytes(what), memoryview(what).nbytes, id, error)
            else:
                done = self._upload_open(upload, what, id, error)
        guard.end(done, error)
        return _str(id.value)

    def _upload_open(self, upload: _Upload, file: BinaryIO, id: Any, error: _Error) -> bool:
        content = _content(file)
        if isinstance(content, bytes):
            return bool(_library.reel_upload_memory(self._open(), upload, content, len(content), id, error))
        done = bool(_library.reel_upload_fd(self._open(), upload, content, -1, id, error))
        if file.seekable():
            file.seek(0, os.SEEK_END if done else os.SEEK_CUR)  # Python goes on behind what was read
        return done

    def _download(self, guard: _Guard, file_id: str, offset: int, size: int, verify: bool, user: Optional[str], application: Optional[str],
                  progress: Optional[Progress]) -> _Download:
        return _Download(key=_Key(_bytes(application), _bytes(user), _bytes(file_id)), offset=offset, size=size, verify=verify,
                         progress=guard.progress(progress))

    def download(self, file_id: str, path: _Path, *, resume: bool = False, verify: bool = False, exclusive: bool = False,
                 user: Optional[str] = None, application: Optional[str] = None, progress: Optional[Progress] = None) -> None:
        """Fetches a file to PATH, which never has half of it. RESUME goes on where an earlier download stopped; VERIFY fails where no
        digest is stored; EXCLUSIVE replaces nothing."""
        guard, error = _Guard(), _Error()
        with guard:
            download = self._download(guard, file_id, 0, 0, verify, user, application, progress)
            download.resume, download.exclusive = resume, exclusive
            done = _library.reel_download_path(self._open(), download, _path(path), error)
        guard.end(done, error)

    def read_into(self, file_id: str, write: Callable[[bytes], Any], *, offset: int = 0, size: int = 0, user: Optional[str] = None,
                  application: Optional[str] = None) -> None:
        """Gives the bytes of a file, or SIZE of them from OFFSET, to WRITE as they come."""
        guard, error = _Guard(), _Error()
        with guard:
            download = self._download(guard, file_id, offset, size, False, user, application, None)
            data = _Data(lambda _, memory, count: guard.call(write, ctypes.string_at(memory, count)))
            done = _library.reel_download_callback(self._open(), download, data, None, error)
        guard.end(done, error)

    def read(self, file_id: str, *, offset: int = 0, size: int = 0, user: Optional[str] = None, application: Optional[str] = None) -> bytes:
        """The bytes of a file, or SIZE of them from OFFSET."""
        parts: list[bytes] = []
        self.read_into(file_id, parts.append, offset=offset, size=size, user=user, application=application)
        return b"".join(parts)

    def size(self, file_id: str, *, user: Optional[str] = None, application: Optional[str] = None) -> int:
        """How many bytes the file has."""
        size, error = ctypes.c_int64(), _Error()
        if not _library.reel_size(self._open(), _Key(_bytes(application), _bytes(user), _bytes(file_id)), size, error):
            _raise(error)
        return size.value

    def stat(self, file_id: str, *, user: Optional[str] = None, application: Optional[str] = None) -> File:
        """All that is known about a file."""
        file, error = _File(), _Error()
        if not _library.reel_stat(self._open(), _Key(_bytes(application), _bytes(user), _bytes(file_id)), file, error):
            _raise(error)
        return _file(file)

    def delete(self, file_id: str, *, user: Optional[str] = None, application: Optional[str] = None) -> None:
        """Deletes a file: it cannot be read any more. restore() brings it back until it is purged."""
        error = _Error()
        if not _library.reel_delete(self._open(), _Key(_bytes(application), _bytes(user), _bytes(file_id)), error):
            _raise(error)

    def restore(self, file_id: str, *, user: Optional[str] = None, application: Optional[str] = None) -> None:
        """Brings a deleted file back."""
        error = _Error()
        if not _library.reel_restore(self._open(), _Key(_bytes(application), _bytes(user), _bytes(file_id)), error):
            _raise(error)

    def rename(self, file_id: str, name: str, *, user: Optional[str] = None, application: Optional[str] = None) -> None:
        """Gives a file another original name ("": none)."""
        error = _Error()
        if not _library.reel_rename(self._open(), _Key(_bytes(application), _bytes(user), _bytes(file_id)), _bytes(name), error):
            _raise(error)

    def expire(self, file_id: str, expires: Expires = None, *, user: Optional[str] = None,
               application: Optional[str] = None) -> Optional[datetime.datetime]:
        """When the servers delete the file: changed, or without EXPIRES only asked; None: never."""
        error, time = _Error(), ctypes.c_int64()
        if not _library.reel_expire(self._open(), _Key(_bytes(application), _bytes(user), _bytes(file_id)), _expires(expires),
                                    ctypes.byref(time), error):
            _raise(error)
        return _time(time.value)

    @property
    def request(self) -> str:
        """The 32 hex digits under which this client's calls stand in the servers' logs."""
        text: bytes = _library.reel_request(self._open())
        return text.decode()

    def quota(self, *, user: Optional[str] = None, application: Optional[str] = None) -> Quota:
        """What the user has, deleted files that are not purged yet included, and may have."""
        quota, error = _Quota(), _Error()
        if not _library.reel_quota(self._open(), _Key(_bytes(application), _bytes(user), None), quota, error):
            _raise(error)
        return _quota(quota)

    def quotas(self) -> Iterator[UserQuota]:
        """The users whose files the servers of this client's `group` count, in the order of users."""
        users: list[UserQuota] = []
        guard, error = _Guard(), _Error()
        each = _EachQuota(lambda _, application, user, quota, held: guard.call(lambda: users.append(
            UserQuota(_str(application), _str(user), _quota(quota.contents), held))))
        done = _library.reel_group_quotas(self._open(), each, None, error)
        guard.end(done, error)
        return iter(users)

    def list(self, *, after: Optional[str] = None, deleted: bool = False, user: Optional[str] = None,
             application: Optional[str] = None) -> Iterator[File]:
        """The user's files in the order of their IDs, from the one behind AFTER on."""
        files: list[File] = []
        guard, error = _Guard(), _Error()
        each = _Each(lambda _, file: guard.call(lambda: files.append(_file(file.contents))))
        done = _library.reel_list(self._open(), _Key(_bytes(application), _bytes(user), _bytes(after)), deleted, each, None, error)
        guard.end(done, error)
        return iter(files)

    def _text(self, function: str, *arguments: Any) -> str:
        error = _Error()
        memory = getattr(_library, "reel_" + function)(self._open(), *arguments, error)
        if not memory:
            _raise(error)
        try:
            return ctypes.string_at(memory).decode(errors="replace")
        finally:
            _library.reel_free(memory)

    def status(self) -> Any:
        """Groups and storage servers, as the tracker describes them."""
        return json.loads(self._text("status"))

    def url(self, file_id: str, base: str, *, name: Optional[str] = None, user: Optional[str] = None, application: Optional[str] = None) -> str:
        """The link of a file at the HTTP server BASE; asks nobody."""
        return self._text("url", _Key(_bytes(application), _bytes(user), _bytes(file_id)), _bytes(base), _bytes(name))
