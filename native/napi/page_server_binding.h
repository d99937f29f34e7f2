// Restore of guest memory on demand, as JavaScript sees it.
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>

#include "memory/external_pager.h"
#include "memory/image_chain.h"
#include "memory/page_server.h"
#include "napi/notifier.h"

namespace tsvmm {

class PageServerBinding : public Napi::ObjectWrap<PageServerBinding> {
 public:
  static void define(Napi::Env env, Napi::Object exports);
  explicit PageServerBinding(const Napi::CallbackInfo& info);
  ~PageServerBinding() override;
  PageServerBinding(const PageServerBinding&) = delete;
  PageServerBinding& operator=(const PageServerBinding&) = delete;

 private:
  void start(const Napi::CallbackInfo& info);
  Napi::Value fill(const Napi::CallbackInfo& info);
  void cancel_fill(const Napi::CallbackInfo& info);
  Napi::Value recorded(const Napi::CallbackInfo& info);
  Napi::Value counters(const Napi::CallbackInfo& info);
  void abandon(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  bool read_options(Napi::Object options);
  bool is_open(Napi::Env env) const;
  // Throws where the server is not running in this process.
  PageServer* own_server(Napi::Env env) const;
  void report(const std::string& reason);
  void work(Napi::Env env);
  void settle_fill(Napi::Env env, bool is_complete);
  void shut_down();
  static void leave_environment(void* self);

  Napi::Env env_;
  bool is_closed_ = true;
  std::shared_ptr<GuestMemory> memory_;
  std::shared_ptr<const ImageChain> image_;  // that the pages are those of; nullptr where it is not said
  std::variant<PageServerOptions, ExternalPagerOptions> options_;  // without the memory
  std::unique_ptr<PageServer> server_;
  std::unique_ptr<ExternalPager> external_;
  Napi::ObjectReference callbacks_;
  Napi::ObjectReference self_;  // while it runs: it is not collected
  std::optional<Napi::Promise::Deferred> filling_;

  std::mutex mutex_;  // guards those below
  std::optional<std::string> failure_;
  std::optional<bool> fill_end_;

  std::unique_ptr<Notifier> notifier_;
};

// Where the pages come from: `value` is an object with `fd` and `fileOffset`, a raw image. Throws and returns nullptr
// for anything else.
std::shared_ptr<PageSource> read_page_source(Napi::Value value);

}  // namespace tsvmm
