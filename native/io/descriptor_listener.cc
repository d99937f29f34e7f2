#include "io/descriptor_listener.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace tsvmm {

namespace {

constexpr int kBacklog = 128;
// Until descriptors or memory are there again: a connection that cannot be accepted is news to poll() all the time.
constexpr int kRetryMs = 100;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return Failure{ENAMETOOLONG, "name a socket"};
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<UniqueFd> stream_socket() {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.is_open()) return last_failure("socket");
  return socket;
}

}  // namespace

Result<UniqueFd> listen_at(const std::string& path) {
  const auto address = address_of(path);
  if (!address) return address.failure();
  auto socket = stream_socket();
  if (!socket) return socket;
  const auto* name = reinterpret_cast<const sockaddr*>(&address.value());
  if (bind(socket.value().get(), name, sizeof(sockaddr_un)) != 0) return last_failure("bind");
  if (listen(socket.value().get(), kBacklog) == 0) return socket;
  const auto failure = last_failure("listen");
  unlink(path.c_str());
  return failure;
}

Result<UniqueFd> connect_to(const std::string& path) {
  const auto address = address_of(path);
  if (!address) return address.failure();
  auto socket = stream_socket();
  if (!socket) return socket;
  const auto* name = reinterpret_cast<const sockaddr*>(&address.value());
  if (connect(socket.value().get(), name, sizeof(sockaddr_un)) != 0) return last_failure("connect");
  return socket;
}

Result<std::unique_ptr<DescriptorListener>> DescriptorListener::start(UniqueFd socket, std::string thread_name,
                                                                      OnConnection on_connection) {
  int listens = 0;
  socklen_t size = sizeof(listens);
  if (getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0) return last_failure("getsockopt");
  if (listens == 0) return Failure{EINVAL, "listen"};
  // One that was handed over may block, and accept() would where a client has gone meanwhile.
  const int flags = fcntl(socket.get(), F_GETFL);
  if (flags < 0 || fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) != 0) return last_failure("fcntl");
  auto stop = EventFd::create();
  if (!stop) return stop.failure();
  std::unique_ptr<DescriptorListener> listener(
      new DescriptorListener(std::move(socket), std::move(stop).value(), std::move(on_connection)));
  auto thread = Thread::start({.name = std::move(thread_name)}, [self = listener.get()] { self->run(); });
  if (!thread) return thread.failure();
  listener->thread_.emplace(std::move(thread).value());
  return listener;
}

DescriptorListener::DescriptorListener(UniqueFd socket, EventFd stop, OnConnection on_connection)
    : socket_(std::move(socket)), stop_(std::move(stop)), on_connection_(std::move(on_connection)) {}

DescriptorListener::~DescriptorListener() {
  stop_.signal();
  if (thread_) thread_->join();
}

void DescriptorListener::run() {
  bool is_short = false;
  for (;;) {
    // Signalled once and for all.
    pollfd polled[] = {{stop_.get(), POLLIN, 0}, {is_short ? -1 : socket_.get(), POLLIN, 0}};
    ::poll(polled, 2, is_short ? kRetryMs : -1);
    if (stop_.is_pending()) return;
    UniqueFd connection(accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    is_short = !connection.is_open() && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS);
    if (connection.is_open()) on_connection_(std::move(connection));
  }
}

}  // namespace tsvmm
