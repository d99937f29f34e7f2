// A value or what went wrong. Nothing below napi/ throws.
#pragma once

#include <cerrno>
#include <utility>
#include <variant>

namespace tsvmm {

// `operation` is a string literal: a system call ("open") or ioctl ("KVM_RUN").
struct Failure {
  int error;
  const char* operation;
};

// Made right after a failed call, while errno is still its own.
inline Failure last_failure(const char* operation) { return {errno, operation}; }

struct Unit {};

template <typename T = Unit>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}  // NOLINT(google-explicit-constructor)
  Result(Failure failure) : state_(failure) {}   // NOLINT(google-explicit-constructor)

  bool ok() const { return std::holds_alternative<T>(state_); }
  explicit operator bool() const { return ok(); }
  T& value() & { return std::get<T>(state_); }
  const T& value() const& { return std::get<T>(state_); }
  T&& value() && { return std::get<T>(std::move(state_)); }
  const Failure& failure() const { return std::get<Failure>(state_); }

 private:
  std::variant<T, Failure> state_;
};

}  // namespace tsvmm
