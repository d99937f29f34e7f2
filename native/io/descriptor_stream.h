// A stream socket of the Unix domain over which descriptors come and go with the bytes (SCM_RIGHTS, unix(7)).
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sys/event_fd.h"
#include "sys/result.h"
#include "sys/thread.h"
#include "sys/unique_fd.h"

namespace tsvmm {

// A thread reads one chunk each time it is asked to, and writes what the socket did not take at once. All methods
// belong to the owner's thread.
class DescriptorStream {
 public:
  struct Chunk {
    std::vector<std::byte> bytes;  // none: the peer has ended its side
    std::vector<UniqueFd> descriptors;
    // Descriptors came that this process has no room for.
    bool is_short = false;
  };

  // `on_change`, on the stream's thread: one of the take methods has something new.
  static Result<std::unique_ptr<DescriptorStream>> start(UniqueFd socket, std::string thread_name,
                                                         std::function<void()> on_change);
  // What was not written is lost.
  ~DescriptorStream();
  DescriptorStream(const DescriptorStream&) = delete;
  DescriptorStream& operator=(const DescriptorStream&) = delete;

  // One more chunk shall be read.
  void read();
  std::optional<Chunk> take_chunk();

  // True where all of it is out; else take_written() says when, and nothing else may be written until then. The
  // descriptors, at most kMostDescriptors, go with the first byte; they stay the caller's, who keeps them open until
  // then.
  bool write(std::span<const std::byte> bytes, std::span<const int> descriptors = {});
  // True once.
  bool take_written();
  // The peer reads to the end of what was written, and no further.
  void end();
  // What came between and ended the stream, once.
  std::optional<Failure> take_failure();

  // SCM_MAX_FD.
  static constexpr size_t kMostDescriptors = 253;

 private:
  DescriptorStream(UniqueFd socket, EventFd wake, std::function<void()> on_change);

  void run();
  // Each on the thread, without the lock.
  void read_chunk();
  void write_rest();
  void fail(const Failure& failure);

  const UniqueFd socket_;
  const EventFd wake_;
  const std::function<void()> on_change_;
  std::optional<Thread> thread_;
  std::vector<std::byte> buffer_;  // the thread's

  std::mutex mutex_;  // guards those below
  bool is_stopping_ = false;
  bool is_reading_ = false;
  std::optional<Chunk> chunk_;
  std::vector<std::byte> outgoing_;  // what is left of it, from `sent_` on
  size_t sent_ = 0;
  std::vector<int> outgoing_descriptors_;
  bool is_written_ = false;
  bool has_failed_ = false;
  std::optional<Failure> failure_;
};

}  // namespace tsvmm
