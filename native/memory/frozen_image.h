// Writes the RAM of one instant into an image while the guest goes on: all of it is write-protected at that instant,
// and who wants to write a page waits until its span has been copied.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "memory/image_writer.h"
#include "memory/page_bitmap.h"
#include "memory/span_job.h"
#include "memory/write_protection.h"
#include "sys/event_fd.h"
#include "sys/result.h"
#include "sys/thread.h"

namespace tsvmm {

// One thread serves who waits: it copies that span aside and leaves the storing to the workers, which go through all
// others meanwhile. So much is kept aside at most; beyond that who writes waits for the disk.
//
// No thread of these writes guest memory or waits for one that does, and nothing but them is needed for it to become
// writable again.
//
// Meanwhile nobody may give the memory back to the host (Mapping::discard): what was there at the instant would be
// lost.
class FrozenImage {
 public:
  // The guest may run. The failures of WriteProtection::prepare().
  static Result<std::unique_ptr<FrozenImage>> prepare(std::shared_ptr<ImageWriter> writer);
  // All memory can be written again; what is not stored by then never is.
  ~FrozenImage();
  FrozenImage(const FrozenImage&) = delete;
  FrozenImage& operator=(const FrozenImage&) = delete;

  // Once, while nobody writes the memory: the pages of `present` (all for nullptr) go into the image as they are now.
  // From its return on everybody may write. After a failure nothing is protected. EINVAL the second time, EBUSY during
  // a pass.
  Result<> freeze(const PageBitmap* present, std::shared_ptr<SpanJob> job);

  // Once, after freeze(): returns when all is stored or one thing failed (ECANCELED where it was cancelled), with
  // nothing protected any more.
  Result<> wait();

 private:
  FrozenImage(std::shared_ptr<ImageWriter> writer, WriteProtection protection, EventFd over)
      : writer_(std::move(writer)), protection_(std::move(protection)), over_(std::move(over)) {}

  using Copy = std::unique_ptr<SpanCopy>;
  // What a worker does next: a span, or the copy of one.
  struct Task {
    uint64_t span;
    Copy aside;
  };

  Result<> protect() const;
  Result<> start_threads();
  void work();
  std::optional<Task> next_task();
  void serve();
  void copy_aside(uint64_t span);
  Result<> copy_and_lift(SpanCopy& copy, uint64_t span) const;
  void done(Copy aside);
  void fail(Failure failure);
  void finish();
  bool is_over() const { return failure_ || left_ == 0; }  // locked

  const std::shared_ptr<ImageWriter> writer_;
  const WriteProtection protection_;
  const EventFd over_;
  std::shared_ptr<SpanJob> job_;
  PageBitmap asked_;
  std::vector<Thread> workers_;
  std::optional<Thread> server_;
  bool is_pass_ = false;

  std::mutex mutex_;
  std::condition_variable work_;  // there may be something to do, or nothing any more
  std::condition_variable room_;  // there may be room aside, or no need of it
  std::vector<bool> is_taken_;    // of spans: it is being copied, or has been, or was not asked for
  uint64_t next_ = 0;             // the workers' way through them
  uint64_t left_ = 0;             // not stored yet
  std::vector<Copy> aside_;       // to be stored
  std::vector<Copy> spare_;
  unsigned copies_ = 0;  // aside, spare and under way
  std::optional<Failure> failure_;
};

}  // namespace tsvmm
