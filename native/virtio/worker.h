// A native thread that serves one or more virtqueues.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sys/event_fd.h"
#include "virtio/vring.h"

namespace tsvmm {

class Worker {
 public:
  // From the worker's thread: a queue is malformed and is served no further.
  using OnFailure = std::function<void(uint16_t queue, const char* reason)>;

  virtual ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Owner's thread. `ended` is called on the new one, last. Names are cut to 15 bytes.
  Result<> launch(const std::string& thread_name, std::function<void()> ended);
  // Any thread. In-flight host I/O is finished first.
  void request_stop();
  // Any thread: makes on_wake() run on the worker's.
  void wake() const { wake_.signal(); }
  // Owner's thread. Idempotent; a worker never launched is joined.
  void join();
  // Owner's thread, after join().
  virtual void add_positions(std::vector<VringPosition>& positions) const = 0;

 protected:
  explicit Worker(EventFd wake) : wake_(std::move(wake)) {}

  // The thread's body; returns once is_stopping() and nothing is in flight.
  virtual void run() = 0;

  bool is_stopping() const { return stopping_.load(std::memory_order_acquire); }
  const EventFd& wake_event() const { return wake_; }

 private:
  static void* enter(void* self);

  EventFd wake_;
  std::atomic<bool> stopping_ = false;
  std::string thread_name_;
  std::function<void()> ended_;
  pthread_t thread_{};
  bool launched_ = false;
};

}  // namespace tsvmm
