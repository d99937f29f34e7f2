#include "migration/dial.h"

#include <poll.h>
#include <sys/socket.h>

#include <utility>

namespace tsvmm {

Result<std::unique_ptr<Dial>> Dial::start(const SocketAddress& address, std::chrono::milliseconds patience,
                                          std::function<void(Result<UniqueFd>)> on_end) {
  auto cancelled = EventFd::create();
  if (!cancelled) return cancelled.failure();
  std::unique_ptr<Dial> dial(new Dial(std::move(cancelled).value()));
  auto thread = Thread::start({"dial"}, [&each = *dial, address, patience, on_end = std::move(on_end)] {
    on_end(each.connect(address, patience));
  });
  if (!thread) return thread.failure();
  dial->thread_.emplace(std::move(thread).value());
  return dial;
}

Result<UniqueFd> Dial::connect(const SocketAddress& address, std::chrono::milliseconds patience) const {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + patience;
  auto socket = address.connect();
  if (!socket) return socket;
  pollfd ready[] = {{socket.value().get(), POLLOUT, 0}, {cancelled_.get(), POLLIN, 0}};
  for (;;) {
    const auto rest = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    const int count = rest <= 0 ? 0 : poll(ready, 2, static_cast<int>(rest));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return last_failure("poll");
    if (count == 0) return Failure{ETIMEDOUT, "connect"};
    if (ready[1].revents != 0) return Failure{ECANCELED, "connect"};
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(socket.value().get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return last_failure("getsockopt");
    if (error != 0) return Failure{error, "connect"};
    return socket;
  }
}

}  // namespace tsvmm
