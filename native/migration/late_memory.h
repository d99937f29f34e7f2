// Guest memory of a machine that runs already, and whose last pages are still to come from the host that it ran on.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "memory/lazy_memory.h"
#include "migration/frame.h"
#include "migration/memory_receiver.h"
#include "migration/page_codec.h"
#include "migration/page_settler.h"
#include "migration/stream.h"
#include "sys/event_fd.h"
#include "sys/thread.h"

namespace tsvmm {

// Whoever touches a page that is missing waits for it, and the source is asked for it and what is around it. All
// methods belong to the owner.
class LateMemory {
 public:
  struct Options {
    std::shared_ptr<const RamMap> memory = {};
    PageBitmap missing = {};
    // What received the memory so far: what comes there is for it from now on, as long as that lives.
    MemoryReceiver* receiver = nullptr;
    // Everything is there; once, from another thread, or from start(). Nobody waits any more.
    std::function<void()> on_complete = {};
    // While the source cannot be asked this thread is given zeroes: it is the one that makes connections.
    int owner_thread = 0;
  };
  // The memory stands still. Fails as LazyMemory::create() does.
  static Result<std::unique_ptr<LateMemory>> start(Options options);
  // Whatever is missing is zero from then on.
  ~LateMemory();
  LateMemory(const LateMemory&) = delete;
  LateMemory& operator=(const LateMemory&) = delete;

  // For a receiver over new connections, which comes instead of the one before.
  MemoryReceiver::Late reception() const;
  // Over this one the source is asked, instead of the one before. It fails with ETIMEDOUT where somebody waits and no
  // memory has come from anywhere for `stall`; 0: never. `on_failure` is called once at most, from another thread; not
  // any more once another connection has taken its place.
  Result<> ask_at(UniqueFd socket, std::chrono::milliseconds stall, std::function<void(const Failure&)> on_failure);

  PageBitmap missing() const { return memory_->missing(); }
  uint64_t missing_pages() const { return memory_->unsettled(); }
  uint64_t faults() const { return faults_; }

  // Nobody waits any more: whatever is missing is zero from now on. The machine has to be given up for that.
  void abandon() { memory_->release(); }

 private:
  using Clock = std::chrono::steady_clock;

  // That nothing is missing any more, whoever notices.
  class Completion {
   public:
    explicit Completion(std::function<void()> on_complete) : on_complete_(std::move(on_complete)) {}
    void note(LazyMemory& memory);
    void forget();

   private:
    std::mutex mutex_;
    std::function<void()> on_complete_;  // under mutex_
  };

  // The connection at which the source is asked. Its thread receives the answers.
  struct Line {
    Line(Stream its_stream, uint64_t pages, std::chrono::milliseconds its_stall)
        : stream(std::move(its_stream)), stall(its_stall), reader(stream, pages) {}
    Stream stream;
    const std::chrono::milliseconds stall;
    FrameWriter writer{stream};
    FrameReader reader;
    PageDecoder decoder;
    PageSettler settler;
    std::function<void(const Failure&)> on_failure;
    std::atomic<bool> has_failed = false;
    std::optional<Thread> thread;
  };

  LateMemory(Options options, std::shared_ptr<LazyMemory> memory, EventFd kick);
  void receive(Line& line);
  Result<> receive_one(Line& line);
  void fail(Line& line, const Failure& failure) const;
  std::shared_ptr<Line> line() const;
  static void hang_up(const std::shared_ptr<Line>& line);

  // The watcher's.
  void watch();
  void take_line();
  void serve(const PageFault& fault);
  void ask(const PageFault& fault);
  Result<> request(Line& line, uint64_t first, uint64_t end);
  void spare_owner();
  int patience_ms() const;
  void look_after_waiting();

  const Options options_;
  const std::shared_ptr<LazyMemory> memory_;
  const std::shared_ptr<Completion> completion_;
  const EventFd kick_;
  std::atomic<bool> is_quitting_ = false;
  std::atomic<uint64_t> faults_ = 0;
  mutable std::mutex mutex_;
  std::shared_ptr<Line> line_;      // under mutex_; changed by the watcher
  std::shared_ptr<Line> new_line_;  // under mutex_: the one that is to take its place
  std::vector<PageFault> waiting_;  // watcher only: faults that may not have been answered yet
  PageBitmap asked_;                // watcher only: over this line
  // Watcher only: when it has looked whether memory comes, how much was missing, and how many of waiting_ there were.
  Clock::time_point looked_at_ = Clock::now();
  uint64_t was_unsettled_ = 0;
  size_t were_waiting_ = 0;
  std::optional<Thread> watcher_;
};

}  // namespace tsvmm
