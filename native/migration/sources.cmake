target_sources(core PRIVATE migration/dial.cc migration/doorkeeper.cc migration/frame.cc migration/late_memory.cc
  migration/memory_receiver.cc migration/memory_sender.cc migration/page_codec.cc migration/page_settler.cc
  migration/rate_limit.cc migration/send_connection.cc migration/sent_pages.cc migration/socket_address.cc
  migration/stream.cc)
if(TARGET native_tests)
  target_sources(native_tests PRIVATE migration/doorkeeper_test.cc migration/frame_fuzz_test.cc migration/frame_test.cc
    migration/late_memory_test.cc migration/memory_transfer_test.cc migration/page_codec_test.cc migration/sent_pages_test.cc)
endif()
