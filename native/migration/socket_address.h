// Where a connection comes from or goes to: an address of the network or a path.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>

#include "sys/result.h"
#include "sys/unique_fd.h"

namespace tsvmm {

class SocketAddress {
 public:
  // `host`: an IPv4 or IPv6 address in figures, the latter perhaps with %interface. EINVAL for anything else.
  static Result<SocketAddress> network(const std::string& host, uint16_t port);
  // ENAMETOOLONG.
  static Result<SocketAddress> path(const std::string& path);

  // A stream socket that does not block; connect() on it is under way or done.
  Result<UniqueFd> connect() const;
  // One that listens. A socket file that nobody listens at any more is taken over; EADDRINUSE else. A new one is its
  // owner's alone.
  Result<UniqueFd> listen() const;
  // Of what a socket listens at.
  static Result<uint16_t> port_of(int socket);

 private:
  SocketAddress() = default;
  Result<UniqueFd> open() const;
  bool is_deserted() const;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address_); }
  const char* file() const;

  sockaddr_storage address_{};
  socklen_t size_ = 0;
};

// That what is written goes at once, and that a peer is missed that does not answer any more. Does nothing to sockets
// that are no TCP's.
void prepare_connection(int socket);

}  // namespace tsvmm
