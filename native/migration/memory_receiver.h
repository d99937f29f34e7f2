// Receives guest memory over several connections into a machine that does not run yet, or that runs already and waits
// for what it touches (memory/lazy_memory.h).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "memory/guest_memory.h"
#include "memory/image_space.h"
#include "memory/lazy_memory.h"
#include "memory/residency.h"
#include "migration/frame.h"
#include "migration/page_codec.h"
#include "migration/page_settler.h"
#include "migration/stream.h"
#include "sys/thread.h"
#include "sys/unique_fd.h"

namespace tsvmm {

// All methods belong to the owner.
class MemoryReceiver {
 public:
  // Memory that is watched, for which comes what comes. Changes of pages are refused then.
  struct Late {
    std::shared_ptr<LazyMemory> memory;
    // Called by the receiver's threads after each frame.
    std::function<void()> on_settled;
  };
  struct Options {
    std::shared_ptr<const RamMap> memory = {};
    std::vector<UniqueFd> sockets = {};
    // From the first frame on; else what comes is written into memory as it is.
    std::optional<Late> late = {};
    std::chrono::milliseconds stall{0};
    // Both are called from the receiver's threads. All connections are through with a pass:
    std::function<void(uint64_t pass)> on_pass = {};
    // Once: nothing more is received. A connection that ends between two frames is a failure, too (ECONNRESET).
    std::function<void(const Failure& failure)> on_failure = {};
  };
  // EINVAL without RAM or sockets. Nobody else uses the memory until turn_late() or the end.
  static Result<std::unique_ptr<MemoryReceiver>> start(Options options);
  ~MemoryReceiver();
  MemoryReceiver(const MemoryReceiver&) = delete;
  MemoryReceiver& operator=(const MemoryReceiver&) = delete;

  // What comes from now on is for what `watch` makes. No thread writes into memory that is watched: it would wait for
  // itself, and undo what the guest has written.
  Result<> turn_late(const std::function<Result<Late>()>& watch);

  uint64_t bytes_received() const { return bytes_received_; }
  uint64_t pages_received() const { return pages_received_; }

 private:
  struct Connection {
    explicit Connection(Stream its_stream, uint64_t pages) : stream(std::move(its_stream)), reader(stream, pages) {}
    Stream stream;
    FrameReader reader;
    FrameWriter writer{stream};
    PageDecoder decoder;
    PageSettler settler;
    // Held by its thread while that writes into memory as it is. Each has its own: a lock that they shared might never
    // be free where a peer sends all the time.
    std::mutex placing;
    uint64_t pass = 0;  // under mutex_: the last one that it is through with
  };

  explicit MemoryReceiver(Options options);
  Result<> start_threads();
  void run(Connection& connection);
  Result<> receive(Connection& connection);
  Result<> place(Connection& connection, uint64_t span, const PagesFrame& frame);
  void copy(uint64_t span, const PagesFrame& frame, std::span<const std::byte> pages) const;
  Result<> end_pass(Connection& connection, uint64_t pass);

  Options options_;
  const ImageSpace space_;
  const Residency residency_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::atomic<uint64_t> bytes_received_ = 0;
  std::atomic<uint64_t> pages_received_ = 0;
  std::atomic<bool> has_failed_ = false;
  std::mutex mutex_;
  std::optional<Late> late_;  // changed under all `placing`, and read under one's own; once there it stays
  std::vector<Thread> threads_;
};

}  // namespace tsvmm
