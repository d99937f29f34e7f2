// Accepts connections of a Unix socket, by a thread of its own.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "sys/event_fd.h"
#include "sys/result.h"
#include "sys/thread.h"
#include "sys/unique_fd.h"

namespace tsvmm {

// A new socket at `path`, or whatever the file mode creation mask leaves of it, that listens. EADDRINUSE where there is
// something already, ENAMETOOLONG.
Result<UniqueFd> listen_at(const std::string& path);
// The other end of a connection to it. Does not wait: EAGAIN where as many wait already as it takes.
Result<UniqueFd> connect_to(const std::string& path);

// Owner's thread.
class DescriptorListener {
 public:
  // On the listener's thread, with each connection, which does not block. `socket` listens; EINVAL else.
  using OnConnection = std::function<void(UniqueFd)>;
  static Result<std::unique_ptr<DescriptorListener>> start(UniqueFd socket, std::string thread_name,
                                                           OnConnection on_connection);
  ~DescriptorListener();
  DescriptorListener(const DescriptorListener&) = delete;
  DescriptorListener& operator=(const DescriptorListener&) = delete;

 private:
  DescriptorListener(UniqueFd socket, EventFd stop, OnConnection on_connection);
  void run();

  const UniqueFd socket_;
  const EventFd stop_;
  const OnConnection on_connection_;
  std::optional<Thread> thread_;
};

}  // namespace tsvmm
