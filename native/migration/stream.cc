#include "migration/stream.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace tsvmm {

namespace {

timeval time_of(std::chrono::milliseconds duration) {
  constexpr int kPerSecond = 1000;
  return {duration.count() / kPerSecond, duration.count() % kPerSecond * kPerSecond};
}

}  // namespace

Result<Stream> Stream::adopt(UniqueFd socket, std::chrono::milliseconds stall) {
  const auto flags = fcntl(socket.get(), F_GETFL);
  if (flags < 0 || fcntl(socket.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) return last_failure("fcntl");
  const auto limit = time_of(stall);
  if (setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0) return last_failure("setsockopt");
  Stream stream(std::move(socket));
  if (auto limited = stream.limit_writes(stall); !limited) return limited.failure();
  return stream;
}

Result<> Stream::limit_writes(std::chrono::milliseconds stall) {
  const auto limit = time_of(stall);
  if (setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) != 0) return last_failure("setsockopt");
  return Unit{};
}

Failure Stream::failed(int error, const char* operation) const {
  if (is_cut_) return {ECANCELED, operation};
  if (error == EAGAIN) return {ETIMEDOUT, operation};
  return {error == EPIPE ? ECONNRESET : error, operation};
}

Result<> Stream::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto sent = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return failed(errno, "send");
    bytes_written_ += static_cast<uint64_t>(sent);
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return Unit{};
}

Result<bool> Stream::read_or_end(std::span<std::byte> bytes) {
  for (bool is_first = true; !bytes.empty(); is_first = false) {
    const auto got = recv(socket_.get(), bytes.data(), bytes.size(), MSG_WAITALL);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(errno, "recv");
    if (got == 0 && is_first && !is_cut_) return false;
    if (got == 0) return failed(ECONNRESET, "recv");
    bytes = bytes.subspan(static_cast<size_t>(got));
  }
  return true;
}

Result<> Stream::read(std::span<std::byte> bytes) {
  const auto whole = read_or_end(bytes);
  if (!whole) return whole.failure();
  if (!whole.value()) return failed(ECONNRESET, "recv");
  return Unit{};
}

void Stream::cut() {
  is_cut_ = true;
  shutdown(socket_.get(), SHUT_RDWR);
}

}  // namespace tsvmm
