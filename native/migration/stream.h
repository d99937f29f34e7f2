// One end of a connection that carries memory: a stream socket, blocking, of one reading and one writing thread.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace tsvmm {

class Stream {
 public:
  // Takes the socket over, also where it fails. A transfer that gets nowhere for `stall` fails with ETIMEDOUT; 0:
  // never.
  static Result<Stream> adopt(UniqueFd socket, std::chrono::milliseconds stall);
  // As `stall` of adopt(), for what is written only.
  Result<> limit_writes(std::chrono::milliseconds stall);
  Stream(Stream&& other) noexcept : socket_(std::move(other.socket_)) {}
  Stream& operator=(Stream&&) = delete;

  // All of it. ECONNRESET where the other side is gone, ECANCELED after cut().
  Result<> write(std::span<const std::byte> bytes);
  Result<> read(std::span<std::byte> bytes);
  // As read(); false where the stream ended before the first byte.
  Result<bool> read_or_end(std::span<std::byte> bytes);

  // Any thread: ends whatever waits, and all that comes later. Idempotent.
  void cut();

  uint64_t bytes_written() const { return bytes_written_; }

 private:
  explicit Stream(UniqueFd socket) : socket_(std::move(socket)) {}
  Failure failed(int error, const char* operation) const;

  UniqueFd socket_;
  std::atomic<bool> is_cut_ = false;
  std::atomic<uint64_t> bytes_written_ = 0;
};

}  // namespace tsvmm
