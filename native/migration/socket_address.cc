#include "migration/socket_address.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace tsvmm {

namespace {

constexpr int kBacklog = 256;

void set_option(int socket, int level, int option, int value) {
  // Of no use to a socket of another kind, which says so.
  static_cast<void>(setsockopt(socket, level, option, &value, sizeof value));
}

}  // namespace

Result<SocketAddress> SocketAddress::network(const std::string& host, uint16_t port) {
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    return Failure{EINVAL, "read an address"};
  }
  SocketAddress address;
  std::memcpy(&address.address_, found->ai_addr, found->ai_addrlen);
  address.size_ = found->ai_addrlen;
  freeaddrinfo(found);
  return address;
}

Result<SocketAddress> SocketAddress::path(const std::string& path) {
  sockaddr_un unix{};
  if (path.empty()) return Failure{EINVAL, "read an address"};
  if (path.size() >= sizeof unix.sun_path) return Failure{ENAMETOOLONG, "read an address"};
  unix.sun_family = AF_UNIX;
  std::memcpy(unix.sun_path, path.data(), path.size());
  SocketAddress address;
  std::memcpy(&address.address_, &unix, sizeof unix);
  address.size_ = sizeof unix;
  return address;
}

const char* SocketAddress::file() const {
  return address_.ss_family == AF_UNIX ? reinterpret_cast<const sockaddr_un*>(&address_)->sun_path : nullptr;
}

Result<UniqueFd> SocketAddress::open() const {
  UniqueFd socket(::socket(address_.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.is_open()) return last_failure("socket");
  return socket;
}

Result<UniqueFd> SocketAddress::connect() const {
  auto socket = open();
  if (!socket) return socket;
  prepare_connection(socket.value().get());
  if (::connect(socket.value().get(), get(), size_) == 0 || errno == EINPROGRESS) return socket;
  return last_failure("connect");
}

bool SocketAddress::is_deserted() const {
  struct stat status {};
  if (file() == nullptr || lstat(file(), &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  const auto tried = open();
  return tried && ::connect(tried.value().get(), get(), size_) != 0 && errno == ECONNREFUSED;
}

Result<UniqueFd> SocketAddress::listen() const {
  auto socket = open();
  if (!socket) return socket;
  const int fd = socket.value().get();
  // What is left of connections of before is in nobody's way.
  set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  // Of a socket, the file gets it when it is bound (unix(7)).
  if (file() != nullptr && fchmod(fd, S_IRUSR | S_IWUSR) != 0) return last_failure("fchmod");
  if (bind(fd, get(), size_) != 0) {
    const auto failure = last_failure("bind");
    if (failure.error != EADDRINUSE || !is_deserted()) return failure;
    unlink(file());
    if (bind(fd, get(), size_) != 0) return last_failure("bind");
  }
  if (::listen(fd, kBacklog) != 0) return last_failure("listen");
  return socket;
}

Result<uint16_t> SocketAddress::port_of(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return last_failure("getsockname");
  if (address.ss_family == AF_INET) return ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port);
  if (address.ss_family == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6*>(&address)->sin6_port);
  return uint16_t{0};
}

void prepare_connection(int socket) {
  // Seconds; the same as Cloud Hypervisor's.
  constexpr int kIdle = 60;
  constexpr int kBetween = 15;
  constexpr int kProbes = 4;
  constexpr int kUnansweredMs = 120'000;
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, kIdle);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, kBetween);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, kUnansweredMs);
}

}  // namespace tsvmm
