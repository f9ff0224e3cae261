defmodule MQTT.Server.Callbacks do
  @moduledoc false
  # The callbacks, which the behaviour has under both of its names.

  defmacro define do
    quote do
      @doc """
      Decides about a client.

      `args` is what `enter_loop/3` or the listener's `:handler` was given. `{:ok, state}` accepts the
      client [MQTT-3.1.4-4]; `{:stop, reason}` rejects it with the code that the reason has in its
      version and ends the process normally, without `c:terminate/2`. A reason that is none of `t:MQTT.Server.init_stop_reason/0`
      closes the connection without CONNACK, and is what the process exits with: that is reported to the logger, unless it is
      `{:shutdown, term}`. A client that was accepted may still be refused by the
      library, as one that CONNACK is too large for; then `c:terminate/2` follows at once.

      Beside those of the module's documentation there are these actions here:

        * `{:connack, properties}` says something in CONNACK (MQTT 5.0). What it says of the server
          takes effect: `:receive_maximum`, `:maximum_packet_size`, `:topic_alias_maximum`,
          `:server_keep_alive`, `:maximum_qos`, `:retain_available`,
          `:wildcard_subscription_available`, `:shared_subscription_available`,
          `:subscription_identifier_available`. The first three and an assigned client identifier are
          said by the library otherwise. `:session_expiry_interval` is also that of a client of MQTT 3.1.1 that does not ask for a clean
          session, which is not told.
        * `{:session, session}` gives the connection a `MQTT.Session`, `{:session, :new}` a new one. Where two connections of a client may be let in at
          the same time, `{:session, session, number}` says which comes first: one with a lower number than another that has had
          the session is refused with 0x80 and ends with `{:shutdown, :session_taken_over}`.
        * `{:router, router}` has what the client publishes go to a `MQTT.Router` without
          `c:handle_publish/4`; with `{:router, router, rules}` only what these rules of `MQTT.Broker.ACL` allow.
          `{:router, router, :callbacks}` only lets the router know of the session, and so does `{:router, router, {:callbacks, rules}}`. It
          needs a session. With rules its subscriptions end that these do not allow, and what waits of them is dropped.
        * `{:deliveries, :callbacks}` has `c:handle_delivery/4` called for each message before the client gets it. It needs a session.
        * `{:will, :auto}` has the client's will published by the library: `c:handle_publish/4` is called
          with it before `c:terminate/2`, unless the client took it back with its DISCONNECT
          [MQTT-3.1.2-8] [MQTT-3.14.4-3]. If the connection has a session and the will a Will Delay
          Interval, that is later and in another process, unless the client has come back to its session
          [MQTT-3.1.3-9]; 10,000 wills may wait on a node, and any further one is published at once. Where the connection's process was killed, it is in another process as well, with the state of `init/2`.
          With `{:will, {:auto, pid}}` a will that waits is forgotten when that process ends.

      A client of MQTT 5.0 that named an Authentication Method can be asked for more with `{:continue,
      properties, state}`, which sends AUTH; its answer calls `c:handle_auth/3`. Without that callback
      such a client is rejected [MQTT-4.12.0-1].

      A limit of the process' heap (`Process.flag(:max_heap_size, limit)`) is to be set here. Later the client may flood, and then the
      process has a heap of at least 28,690 words for a second at a time, for which a lower limit is a `badarg`; one that was set here is
      kept to.

      Two things are the handler's: before MQTT 5.0, which has the library assign one, a client
      identifier may be empty, and a handler that keeps anything by it has to choose one itself
      [MQTT-3.1.3-6]; and a client that connects a second time has to be disconnected where it was
      [MQTT-3.1.4-2], which happens by itself if both connections are given the same session.
      """
      @callback init(args :: any, params :: MQTT.Server.init_parameters()) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.init_action() | [MQTT.Server.init_action()]}
                  | {:continue, properties :: map, state}
                  | {:stop, reason :: MQTT.Server.init_stop_reason() | term}
                when state: any

      @doc """
      A message from the client. `opts` has `:qos`, `:retain` and `:dup`, at QoS 1 and 2 `:packet_id`,
      and of a client of MQTT 5.0 `:properties`; `:will` is `true` if it is the client's will.

      A message of QoS 1 or 2 is acknowledged when the callback has returned, and not at all if it
      stops or raises. One of QoS 2 comes exactly once [MQTT-4.3.3-10], but to a client that comes back to its session while the
      callback for it still runs, which sends it again. With `{:error, reason, state}`
      a client of MQTT 5.0 is told that the message was refused, or that it was taken but (`:no_matching_subscribers`);
      others get the same acknowledgement as ever [MQTT-3.3.5-2].

      Messages longer than 64 bytes are parts of what was read at once; `:binary.copy/1` one that is
      kept for long.
      """
      @callback handle_publish(topic :: String.t(), message :: binary, opts :: map, state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.actions()}
                  | {:error, MQTT.Server.reason(), state}
                  | {:error, MQTT.Server.reason(), state, MQTT.Server.actions()}
                  | {:stop, reason :: term}
                when state: any

      @doc """
      The client wants messages whose topic matches the filter, with at most this QoS. Returns the QoS
      that is granted, or `:failed`; SUBACK says it [MQTT-3.8.4-5]. More than the client asked for is
      not granted. With `{:error, reason, state}` a client of MQTT 5.0 is told why, and others that it
      failed.
      """
      @callback handle_subscribe(topic :: String.t(), qos :: :mqtt_packet.qos(), state) ::
                  {:ok, :mqtt_packet.qos() | :failed, state}
                  | {:ok, :mqtt_packet.qos() | :failed, state, MQTT.Server.actions()}
                  | {:error, MQTT.Server.reason(), state}
                  | {:error, MQTT.Server.reason(), state, MQTT.Server.actions()}
                  | {:stop, reason :: term}
                when state: any

      @doc """
      As `c:handle_subscribe/3`, instead of which it is called where it is defined. `options` has what
      MQTT 5.0 adds: `:no_local`, `:retain_as_published`, `:retain_handling` (0 to 2), which in earlier
      versions are `false` and 0, and `:properties` and `:subscription_identifier` if the client sent
      them. `:packet_id` is the packet's, and `:shared` says whether a filter that begins with `$share/` is a shared subscription's, as it is since MQTT 5.0.
      """
      @callback handle_subscribe(
                  topic :: String.t(),
                  qos :: :mqtt_packet.qos(),
                  options :: map,
                  state
                ) ::
                  {:ok, :mqtt_packet.qos() | :failed, state}
                  | {:ok, :mqtt_packet.qos() | :failed, state, MQTT.Server.actions()}
                  | {:error, MQTT.Server.reason(), state}
                  | {:error, MQTT.Server.reason(), state, MQTT.Server.actions()}
                  | {:stop, reason :: term}
                when state: any

      @doc """
      The client ends its subscription to the filter; UNSUBACK follows [MQTT-3.10.4-4]. With
      `{:error, reason, state}` a client of MQTT 5.0 is told the reason, such as
      `:no_subscription_existed`.
      """
      @callback handle_unsubscribe(topic :: String.t(), state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.actions()}
                  | {:error, MQTT.Server.reason(), state}
                  | {:error, MQTT.Server.reason(), state, MQTT.Server.actions()}
                  | {:stop, reason :: term}
                when state: any

      @doc """
      As `c:handle_unsubscribe/2`, instead of which it is called where it is defined. `options` has the
      `:packet_id` and the `:properties` of the packet.
      """
      @callback handle_unsubscribe(topic :: String.t(), options :: map, state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.actions()}
                  | {:error, MQTT.Server.reason(), state}
                  | {:error, MQTT.Server.reason(), state, MQTT.Server.actions()}
                  | {:stop, reason :: term}
                when state: any

      @doc """
      A step of an enhanced authentication (MQTT 5.0, section 4.12), with the properties of the client's
      AUTH. The reason is `:continue_authentication` when it answers ours, before CONNACK as well as in
      a later round of a re-authentication, and `:re_authenticate` when a client that is connected begins
      anew.

      `{:continue, properties, state}` asks for one more; the Authentication Method is put in by the
      library. `{:ok, state}` accepts the client as `c:init/2` does, with the same actions; when it was
      connected already, AUTH says so, with the properties of an action `{:auth, properties}`.
      `{:error, reason, state}` refuses it, which ends the connection.
      """
      @callback handle_auth(
                  reason :: :continue_authentication | :re_authenticate,
                  properties :: map,
                  state
                ) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.auth_action() | [MQTT.Server.auth_action()]}
                  | {:continue, properties :: map, state}
                  | {:error, MQTT.Server.reason(), state}
                  | {:stop, reason :: term}
                when state: any

      @doc """
      What has become of a message that was published with a `:ref`:

        * `:ok`: the client has acknowledged it; one of QoS 0 was written;
        * `{:error, {:refused, reason}}`: the client (of MQTT 5.0) did not want it;
        * `{:error, reason}`: it was not sent, because of `:queue_full`, `:expired`,
          `:packet_too_large` (the client's maximum), `:discarded` (the client began a new session), or `:not_authorized`
          (`c:handle_delivery/4` dropped it);
        * `{:error, :connection_lost}`: the connection ended before. In a session that is kept the
          message stays.
      """
      @callback handle_delivered(ref :: term, result :: :ok | {:error, term}, state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.actions()}
                  | {:stop, reason :: term}
                when state: any

      @doc """
      A message of the client's session is to be sent to it: one that a router, `MQTT.Session.publish/4`, `MQTT.Server.publish/4` or an action
      has put there. It is called only where `c:init/2` asked for it by `{:deliveries, :callbacks}` beside a `:session`, and for each message, in
      their order; messages wait meanwhile within the bounds of the session. Options are `:qos`, `:retain` and `:properties`.

        * `{:send, state}` sends it, as soon as the client takes it;
        * `{:send, ref, state}` does, and `c:handle_delivered/3` says what has become of it, beside a `:ref` that it was published with;
        * `{:drop, state}` does not.

      What was sent and not acknowledged over an earlier connection is sent again without being asked about.
      """
      @callback handle_delivery(topic :: binary, message :: binary, opts :: map, state) ::
                  {:send, state}
                  | {:send, ref :: term, state}
                  | {:drop, state}
                  | {:stop, reason :: term}
                when state: any

      @doc """
      A message without a reference was dropped, whether `c:handle_delivery/4` was called for it before or not: its session held as much as it may
      (`:queue_full`), its time was over (`:expired`), it had QoS 0 and the connection ended (`:not_connected`), the session began anew
      (`:discarded`), or it had waited of a subscription that the rules of a `:router` action ended (`:not_authorized`). What was dropped before the connection is told when it begins. At most 64 messages, or 64 KiB of them, wait to be told, of
      further ones `t:MQTT.Session.info/0` has the number only.
      """
      @callback handle_dropped(
                  topic :: binary,
                  message :: binary,
                  opts :: map,
                  reason ::
                    :queue_full | :expired | :not_connected | :discarded | :not_authorized,
                  state
                ) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.actions()}
                  | {:stop, reason :: term}
                when state: any

      @doc """
      The client has sent DISCONNECT, for the reason `:normal_disconnection` or, in MQTT 5.0, another
      one, and with properties such as `:session_expiry_interval`. `c:terminate/2` follows.
      """
      @callback handle_disconnect(reason :: MQTT.Reason.t(), properties :: map, state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.actions()}
                  | {:stop, reason :: term}
                when state: any

      @optional_callbacks handle_subscribe: 4,
                          handle_unsubscribe: 3,
                          handle_auth: 3,
                          handle_delivered: 3,
                          handle_delivery: 4,
                          handle_dropped: 5,
                          handle_disconnect: 3

      @doc "A `GenServer.call/3` to the process, to be answered with `{:reply, from, reply}`."
      @callback handle_call(call :: any, from :: GenServer.from(), state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.actions()}
                  | {:stop, reason :: term}
                when state: any

      @doc "A `GenServer.cast/2` to the process."
      @callback handle_cast(cast :: any, state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.actions()}
                  | {:stop, reason :: term}
                when state: any

      @doc "Any other message to the process."
      @callback handle_info(info :: any, state) ::
                  {:ok, state}
                  | {:ok, state, MQTT.Server.actions()}
                  | {:stop, reason :: term}
                when state: any

      @doc "The connection has ended. What is returned is ignored."
      @callback terminate(reason :: :normal | :shutdown | {:shutdown, term} | term, state) :: any
                when state: any

      @doc "Another version of the module runs from now on, see `c::gen_server.code_change/3`."
      @callback code_change(old_vsn, state :: any, extra :: term) ::
                  {:ok, new_state :: any}
                  | {:error, reason :: term}
                when old_vsn: term | {:down, term}
    end
  end
end
