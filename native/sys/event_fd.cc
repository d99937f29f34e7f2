#include "sys/event_fd.h"

#include <poll.h>
#include <sys/eventfd.h>

namespace tsvmm {

Result<EventFd> EventFd::create() {
  UniqueFd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.is_open()) return last_failure("eventfd");
  return EventFd(std::move(fd));
}

void EventFd::signal() const {
  const uint64_t one = 1;
  // EAGAIN: the counter is full, so whoever waits will wake anyway.
  [[maybe_unused]] auto written = ::write(fd_.get(), &one, sizeof(one));
}

bool EventFd::drain() const {
  uint64_t count;
  return ::read(fd_.get(), &count, sizeof(count)) == sizeof(count);
}

bool EventFd::is_pending() const {
  pollfd poll{fd_.get(), POLLIN, 0};
  return ::poll(&poll, 1, 0) == 1;
}

}  // namespace tsvmm
