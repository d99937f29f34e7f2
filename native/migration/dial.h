// A connection that is being made.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "migration/socket_address.h"
#include "sys/event_fd.h"
#include "sys/result.h"
#include "sys/thread.h"
#include "sys/unique_fd.h"

namespace tsvmm {

// All methods belong to the owner.
class Dial {
 public:
  // `on_end` is called once, from another thread: with the socket, which does not block, ETIMEDOUT, ECANCELED, or why
  // not.
  static Result<std::unique_ptr<Dial>> start(const SocketAddress& address, std::chrono::milliseconds patience,
                                             std::function<void(Result<UniqueFd>)> on_end);
  ~Dial() { cancel(); }
  Dial(const Dial&) = delete;
  Dial& operator=(const Dial&) = delete;

  void cancel() const { cancelled_.signal(); }

 private:
  explicit Dial(EventFd cancelled) : cancelled_(std::move(cancelled)) {}
  Result<UniqueFd> connect(const SocketAddress& address, std::chrono::milliseconds patience) const;

  const EventFd cancelled_;
  std::optional<Thread> thread_;
};

}  // namespace tsvmm
