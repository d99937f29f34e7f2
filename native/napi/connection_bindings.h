// Connections of a migration, as JavaScript sees them: descriptors that it hands on.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "migration/dial.h"
#include "migration/doorkeeper.h"
#include "napi/event_queue.h"
#include "sys/unique_fd.h"

namespace tsvmm {

class DoorkeeperBinding : public Napi::ObjectWrap<DoorkeeperBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit DoorkeeperBinding(const Napi::CallbackInfo& info);
  ~DoorkeeperBinding() override;
  DoorkeeperBinding(const DoorkeeperBinding&) = delete;
  DoorkeeperBinding& operator=(const DoorkeeperBinding&) = delete;

 private:
  bool start(Napi::Object options);
  Napi::Value port(const Napi::CallbackInfo& info);
  void admit(const Napi::CallbackInfo& info);
  void unref(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
  void let_in(Napi::Env env, UniqueFd socket, const std::vector<std::byte>& greeting);
  void shut_down();

  std::string path_;  // of the socket file that goes with it
  uint16_t port_ = 0;
  std::unique_ptr<Doorkeeper> keeper_;
  std::unique_ptr<EventQueue> events_;
  Napi::ObjectReference callbacks_;
  Napi::ObjectReference self_;  // while it is open: it is not collected
};

class DialBinding : public Napi::ObjectWrap<DialBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit DialBinding(const Napi::CallbackInfo& info);
  ~DialBinding() override;
  DialBinding(const DialBinding&) = delete;
  DialBinding& operator=(const DialBinding&) = delete;

 private:
  Napi::Value socket(const Napi::CallbackInfo& info);
  void cancel(const Napi::CallbackInfo& info);
  void settle(Napi::Env env, const Result<UniqueFd>& result);

  std::optional<Napi::Promise::Deferred> deferred_;
  std::optional<UniqueFd> socket_;
  Napi::ObjectReference promise_;
  Napi::ObjectReference self_;
  std::unique_ptr<Dial> dial_;
  std::unique_ptr<EventQueue> events_;
};

// Takes over the descriptors of an array. Throws and returns nothing where it is none; what was taken is closed then.
std::optional<std::vector<UniqueFd>> take_descriptors(Napi::Value value, const char* name);

}  // namespace tsvmm
