target_sources(core PRIVATE virtio/chain.cc virtio/queue.cc virtio/worker.cc virtio/engine.cc
  virtio/block_request.cc virtio/block_queue.cc virtio/block_engine.cc
  virtio/mailbox_worker.cc virtio/mailbox_engine.cc virtio/net_pair.cc virtio/net_engine.cc)
if(TARGET native_tests)
  target_sources(native_tests PRIVATE virtio/queue_test.cc virtio/queue_fuzz_test.cc virtio/block_engine_test.cc virtio/block_image_test.cc
    virtio/net_engine_test.cc virtio/mailbox_engine_test.cc)
endif()
target_sources(addon PRIVATE napi/engine_host.cc napi/engine_bindings.cc napi/tap_binding.cc)
