//! The atoms that cross the boundary.

rustler::atoms! {
    ok,
    error,
    nil,
    badarg,
    invalid_utf8,
    qos_not_supported,
    bad_action,
    mqtt = "$mqtt",

    // messages
    readable,
    drained,
    accepted,

    // events
    connect,
    publish,
    subscribe,
    unsubscribe,
    disconnect,
    suback,
    unsuback,

    // what to do after a call
    wait,
    more,
    blocked,
    decide,
    close,

    // why a connection ends
    closed,
    protocol_error,
    connect_timeout,
    keep_alive_timeout,
    send_timeout,
    send_queue_full,
    socket_error,
    nif_panicked,
    infinity,

    // keys of maps
    protocol,
    protocol_version,
    clean_session,
    keep_alive,
    client_id,
    username,
    password,
    last_will,
    topic,
    message,
    qos,
    retain,
    dup,

    // options
    block,
    drop_messages = "drop",

    // counters
    connections,
    descriptors,
    queued_bytes,
    flushers,
    dropped_messages,
    refused,
    unconnected,
}
