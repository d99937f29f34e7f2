// A kernel event counter (eventfd, non-blocking). signal, drain and is_pending may be called from any thread.
#pragma once

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace tsvmm {

class EventFd {
 public:
  static Result<EventFd> create();

  int get() const { return fd_.get(); }
  // Never blocks; a counter at its maximum is pending anyway.
  void signal() const;
  // Consumes; false where nothing was pending.
  bool drain() const;
  bool is_pending() const;

 private:
  explicit EventFd(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace tsvmm
