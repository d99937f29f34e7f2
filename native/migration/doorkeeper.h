// Lets connections in: accepts them, or makes them, and reads the first bytes of each, which say what it is for.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "migration/socket_address.h"
#include "sys/event_fd.h"
#include "sys/result.h"
#include "sys/thread.h"
#include "sys/unique_fd.h"

namespace tsvmm {

// All methods belong to the owner.
class Doorkeeper {
 public:
  struct Options {
    // Bytes of each connection that are read before it is let in; 0: none.
    size_t greeting_bytes = 0;
    // A connection that does not greet in time is closed, and so are those above `most_waiting`.
    std::chrono::milliseconds patience{10'000};
    size_t most_waiting = 256;
    // Called from the doorkeeper's thread.
    std::function<void(UniqueFd socket, std::vector<std::byte> greeting)> on_connection = {};
  };
  // `listener` as of SocketAddress::listen(); where it is not open connections come through admit() alone.
  static Result<std::unique_ptr<Doorkeeper>> start(Options options, UniqueFd listener);
  ~Doorkeeper();
  Doorkeeper(const Doorkeeper&) = delete;
  Doorkeeper& operator=(const Doorkeeper&) = delete;

  // As if it had been accepted. A connection that is still being made has as much time as one that greets.
  void admit(UniqueFd socket);

 private:
  using Clock = std::chrono::steady_clock;
  struct Guest {
    UniqueFd socket;
    Clock::time_point deadline;
    std::vector<std::byte> greeting;
    size_t got = 0;
  };
  enum class Progress { kWaits, kDone, kGone };

  Doorkeeper(Options options, UniqueFd listener, EventFd kick);
  void run();
  void accept_all();
  void take_admitted();
  void add(UniqueFd socket);
  Progress greet(Guest& guest) const;
  int remaining_ms() const;

  const Options options_;
  UniqueFd listener_;
  const EventFd kick_;
  std::mutex mutex_;
  // Guarded by mutex_.
  bool is_quitting_ = false;
  std::vector<UniqueFd> admitted_;
  std::vector<Guest> guests_;  // of the thread
  std::optional<Thread> thread_;
};

}  // namespace tsvmm
