defmodule MQTT.Server do
  @moduledoc """
  A behaviour for the server side of MQTT: one process per connected client, which calls back for
  everything the client does.

      defmodule Echo do
        use MQTT.Server

        @impl true
        def init(_args, %{client_id: client_id}), do: {:ok, client_id}

        @impl true
        def handle_publish(topic, message, _opts, client_id) do
          {:ok, client_id, {:publish, topic, message}}
        end
      end

  `{MQTT.Listener, port: 1883, handler: {Echo, []}}` in a supervision tree serves it. A socket that
  was accepted otherwise becomes a connection with `enter_loop/3`.

  `use MQTT.Server` gives every callback but `c:init/2` a default: a message is ignored, a
  subscription fails, a call is answered with `{:error, {:bad_call, call}}`.

  ## The life of a connection

    1. The client's CONNECT calls `c:init/2`, which accepts or rejects it. A client that sends
       something else, or too late, is disconnected without any callback. Calls, casts and messages
       that come before are handled behind it.
    2. Each message calls `c:handle_publish/4`, each filter of a SUBSCRIBE `c:handle_subscribe/3` and
       each of an UNSUBSCRIBE `c:handle_unsubscribe/2`; the acknowledgements follow from what these
       return. PINGREQ is answered without a callback.
    3. `GenServer.call/2`, `GenServer.cast/2` and messages to the process call `c:handle_call/3`,
       `c:handle_cast/2` and `c:handle_info/2`, with which other processes make it publish.
    4. `c:terminate/2` is called when the connection has ended, with the reason:

  | Reason | What happened |
  | --- | --- |
  | `:normal` | The client sent DISCONNECT, after which its will is not published, or `stop/1` was called. |
  | `{:shutdown, {:disconnected, reason}}` | The client sent DISCONNECT with another reason (MQTT 5.0), such as `:disconnect_with_will_message`. |
  | `{:shutdown, {:disconnect, reason}}` | A callback had it disconnected. |
  | `{:shutdown, :session_taken_over}` | Another connection was given the same session, or kept it. |
  | `{:shutdown, :closed}` | The client closed the connection, or it broke. |
  | `{:shutdown, :keep_alive_timeout}` | Nothing came for one and a half times the Keep Alive [MQTT-3.1.2-24], or for `:idle_timeout`. |
  | `{:shutdown, :send_timeout}` | The client read nothing for `:send_timeout` milliseconds. |
  | `{:shutdown, :send_queue_full}` | It read too slowly, with `slow_peer: :close`. |
  | `{:shutdown, {:protocol_error, which}}` | The client broke the protocol; `which` is an atom such as `:invalid_utf8`. |
  | `{:shutdown, {:socket_error, reason}}` | The operating system reported an error. |
  | `{:shutdown, :nif_panicked}` | A defect of this library, which has cost this one connection. |
  | `:shutdown` | The supervisor ended it; the process has to trap exits, as those of a `MQTT.Listener` do. |
  | any other | A callback stopped with it, or raised. |

  A process that ends before its CONNECT was accepted exits with one of these reasons, or with
  `{:shutdown, :connect_timeout}`, and calls nothing.

  Nothing that a client does causes a report of the logger; a callback that raises, or stops the process with an unusual reason, causes one, as in
  a `GenServer`. What a client has said to show who it is, is not in these, unless the callback puts it there.

  ## Actions

  A callback may return one action or a list of them, which are carried out in order. What is
  published is written when the callbacks for all that has come have returned, or when a reply
  follows.

    * `{:publish, topic, message}` and `{:publish, topic, message, opts}` send a message to the client.
      Topic and message are iodata. Options are, in a map,
        * `:qos`, 0 by default. It is the one the message is sent with, whatever was granted;
        * `:max_qos`, to lower it to the one that was;
        * `:retain`, `false` by default;
        * `:properties` (MQTT 5.0, otherwise left out), a map as of `MQTT.Packet`, for instance
          `%{content_type: "text/plain", user_property: [{"unit", "°C"}]}`;
        * `:ref`, any term for which `c:handle_delivered/3` is to be called.
    * `{:reply, from, reply}` answers a call.
    * `{:disconnect, reason}` and `{:disconnect, reason, properties}` end the connection, with a
      DISCONNECT for a client of MQTT 5.0.

  A message to many clients is published by one call of `publish/4`, without their processes.

  A reason is a name or code of `MQTT.Reason`, or a tuple of it and a map of properties (`:reason_string`,
  `:user_property`), which reach a client that wants them.

    An action that cannot be carried out (a topic with a wildcard, a message over 256 MiB) ends the
  process as an exception in the callback would, behind the actions before it.

  ## QoS 1 and 2

  A message to the client gets a packet identifier and is kept until it is acknowledged. As many are
  under way as the client takes (its Receive Maximum, and `:max_inflight`); more wait. What waits and is
  under way is bounded by `:max_session_messages` and `:max_session_bytes`, beyond which messages are
  dropped and counted. A message is sent again when the client comes back to the same `MQTT.Session`, and at no
  other time [MQTT-4.4.0-1].

  ## Slow clients

  What the operating system does not take of what is published waits in a queue. With
  `slow_peer: :block`, the default, nothing is read from the client meanwhile. A message of QoS 0 that
  comes while the queue is full is dropped; what one callback publishes at once is not cut. `info/1`
  and `MQTT.Listener.info/1` count the dropped. Over an `:ssl` socket there is no queue: the process
  waits in `:ssl.send/2`, for `:send_timeout` at most.

  ## Options

  `enter_loop/4` and, but for `:keep_socket`, `MQTT.Listener` take these:

  #{MQTT.Options.docs(MQTT.Server.Options.schema())}
  """

  alias MQTT.Native
  alias MQTT.Server.{Connection, Options, Writer}

  @typedoc """
  What the client's CONNECT said, and how it came.

  `:username`, `:password` and `:last_will` are there if the client sent them.
  `:protocol_version` is 3 for MQTT 3.1, 4 for 3.1.1 and 5, where there are `:properties`, also of the
  will; `:clean_session` is Clean Start there. `:keep_alive` is in seconds. `:peer` and
  `:local` are addresses as of `:inet.peername/1`, or `nil` if the client is gone already.
  `:peer_certificate` is the client's certificate (DER), if it has shown one.
  """
  @type init_parameters :: %{
          required(:protocol) => String.t(),
          required(:protocol_version) => 3 | 4 | 5,
          required(:clean_session) => boolean,
          required(:keep_alive) => 0..65_535,
          required(:client_id) => String.t(),
          required(:transport) => :tcp | :ssl,
          required(:peer) => {:inet.ip_address(), :inet.port_number()} | nil,
          required(:local) => {:inet.ip_address(), :inet.port_number()} | nil,
          optional(:properties) => map,
          optional(:peer_certificate) => binary,
          optional(:username) => String.t(),
          optional(:password) => binary,
          optional(:last_will) => %{
            required(:topic) => iodata,
            required(:message) => iodata,
            required(:qos) => :mqtt_packet.qos(),
            required(:retain) => boolean,
            optional(:properties) => map
          }
        }

  @typedoc """
  Why a client is rejected, which its CONNACK tells it: a reason of 0.2.2, one of `MQTT.Reason` with
  0x80 or above, or the number to be sent. Before MQTT 5.0 there are five codes, and a client is told that which fits, if one
  does; otherwise the connection is closed without a CONNACK [MQTT-3.2.2-6]. A number is sent as it is, as 0.2.2 does, to any client but one of MQTT 5.0, which gets what it stands for there.
  """
  @type init_stop_reason ::
          :unacceptable_protocol
          | :identifier_rejected
          | :server_unavailable
          | :bad_username_or_password
          | :not_authorized
          | 1..255
          | reason

  @typedoc "A reason code, and what else to tell a client of MQTT 5.0."
  @type reason :: MQTT.Reason.t() | {MQTT.Reason.t(), properties :: map}

  @typedoc "What a callback may have done, see the module's documentation."
  @type action ::
          {:publish, topic :: iodata, message :: iodata}
          | {:publish, topic :: iodata, message :: iodata,
             %{
               optional(:qos) => :mqtt_packet.qos(),
               optional(:max_qos) => :mqtt_packet.qos(),
               optional(:retain) => boolean,
               optional(:properties) => map,
               optional(:ref) => term
             }}
          | {:reply, GenServer.from(), term}
          | {:disconnect, reason}
          | {:disconnect, MQTT.Reason.t(), properties :: map}

  @typedoc "One action or several, which are carried out in their order."
  @type actions :: action | [action]

  @typedoc "What `c:init/2` may have done as well."
  @type init_action ::
          action
          | {:connack, properties :: map}
          | {:session, MQTT.Session.t() | :new}
          | {:session, MQTT.Session.t(), number :: non_neg_integer}
          | {:router, MQTT.Router.t()}
          | {:router, MQTT.Router.t(),
             MQTT.Broker.ACL.rules() | :callbacks | {:callbacks, MQTT.Broker.ACL.rules()}}
          | {:deliveries, :callbacks}
          | {:will, :auto | {:auto, pid}}

  @typedoc "What `c:handle_auth/3` may have done as well."
  @type auth_action :: init_action | {:auth, properties :: map}

  require MQTT.Server.Callbacks
  MQTT.Server.Callbacks.define()

  @doc false
  defmacro __using__(_) do
    quote location: :keep do
      @behaviour MQTT.Server

      @doc false
      def handle_publish(_topic, _message, _opts, state), do: {:ok, state}

      @doc false
      def handle_subscribe(_topic, _qos, state), do: {:ok, :failed, state}

      @doc false
      def handle_unsubscribe(_topic, state), do: {:ok, state}

      @doc false
      def handle_call(call, from, state) do
        {:ok, state, {:reply, from, {:error, {:bad_call, call}}}}
      end

      @doc false
      def handle_cast(_cast, state), do: {:ok, state}

      @doc false
      def handle_info(_info, state), do: {:ok, state}

      @doc false
      def terminate(_reason, _state), do: :ok

      @doc false
      def code_change(_old_vsn, state, _extra), do: {:ok, state}

      defoverridable MQTT.Server
    end
  end

  @typedoc """
  What `info/1` says: the bytes that wait because the client reads too slowly, and the messages that were
  dropped for that.
  """
  @type info :: %{queued_bytes: non_neg_integer, dropped_messages: non_neg_integer}

  @doc """
  What a connection has counted, by its process. Exits the caller as `GenServer.call/2` does.
  """
  @spec info(GenServer.server()) :: info
  defdelegate info(process), to: Connection

  @typedoc "A connection, for `publish/4`. Two are equal if they are the same one."
  @opaque connection :: reference

  @doc """
  The connection of the calling process, for `publish/4` from this or any other process of the node.

  It may be kept anywhere, as in a `Registry` or an ETS table. Once the process has ended nothing can
  be published to it. In a process that is no connection it is `nil`.

      iex> MQTT.Server.connection()
      nil

  """
  @spec connection() :: connection | nil
  defdelegate connection, to: Connection, as: :current

  @doc """
  Publishes one message to many connections, and gives those that it was not sent to.

  It is encoded once for some hundred connections, whose sessions share it, and no callback is called. No
  process of a connection is woken, but for one that writes to an `:ssl` socket. Options are `:qos`,
  `:retain` and `:properties`, as in a publish action; each connection has packet identifiers of its
  own. It never waits for a client: what one does not read waits for it within the bounds of its
  connection, beyond which the message is not sent.

      defmodule Chat do
        use MQTT.Server

        @impl true
        def init(_args, _params), do: {:ok, nil}

        @impl true
        def handle_subscribe(topic, qos, state) do
          {:ok, _} = Registry.register(Chat.Registry, topic, MQTT.Server.connection())
          {:ok, qos, state}
        end

        @impl true
        def handle_publish(topic, message, _opts, state) do
          connections = for {_, connection} <- Registry.lookup(Chat.Registry, topic), do: connection
          MQTT.Server.publish(connections, topic, message)
          {:ok, state}
        end
      end

  A connection is in the result, in the order of the list, with

    * `:not_connected` if its client is not accepted yet, is gone, or has another connection with the
      same `MQTT.Session`, to which the message can be given with `MQTT.Session.publish/4`;
    * `:queue_full` if its client reads or acknowledges too slowly. With `slow_peer: :close` it is
      disconnected;
    * `:packet_too_large` if its client takes no packet so large (MQTT 5.0).

  What a callback publishes goes out when those for all that has come have returned, or a millisecond later.

  Messages of a process with the same QoS arrive in their order. Between them and what a callback returns as
  actions, which goes out once it has returned, there is none. A message that cannot be published at
  all raises an `ArgumentError`, and so does a term that is no connection, behind those before it.

      iex> MQTT.Server.publish([], "a/b", "hello", %{qos: 1})
      []

  """
  @spec publish([connection], topic :: iodata, message :: iodata, map | keyword) ::
          [{connection, :not_connected | :queue_full | :packet_too_large}]
  def publish(connections, topic, message, options \\ %{}) do
    options = options |> MQTT.Options.to_map() |> Map.delete(:ref)
    hold? = Connection.current() != nil and Writer.hold?()
    publish(connections, flat(topic), flat(message), options, [], hold?)
  end

  # Once for all calls.
  defp flat(iodata) when is_list(iodata), do: IO.iodata_to_binary(iodata)
  defp flat(binary), do: binary

  # As many as one call may, and then the others.
  defp publish(connections, topic, message, options, failed, hold) do
    case Native.connections_publish(connections, topic, message, options, failed, hold) do
      {:ok, failed} ->
        :lists.reverse(failed)

      {:more, connections, failed} ->
        publish(connections, topic, message, options, failed, hold)

      {:error, {:invalid, reason}} ->
        MQTT.Options.wrong_message(reason, options)
    end
  end

  @doc """
  Turns the calling process into the connection of an accepted socket, and never returns.

  The process must have been started by `:proc_lib`, as all processes of OTP behaviours and of
  `Task` are, and must own the socket. `args` goes to `c:init/2`. The options are those of the
  module's documentation; a wrong one raises an `ArgumentError`.

  What the caller would do afterwards, in an `after` for instance, is not done: the process hibernates
  when it is idle, which forgets its stack. `c:terminate/2` is the place for it.

  ## Examples

      defmodule Acceptor do
        def loop(listen_socket) do
          {:ok, socket} = :gen_tcp.accept(listen_socket)

          pid =
            :proc_lib.spawn(fn ->
              receive do: (:yours -> :ok)
              MQTT.Server.enter_loop(Echo, [], MQTT.Transport.new(:tcp, socket))
            end)

          :ok = :gen_tcp.controlling_process(socket, pid)
          send(pid, :yours)
          loop(listen_socket)
        end
      end

  """
  @spec enter_loop(module, args :: term, MQTT.Transport.t(), options :: keyword) :: no_return
  def enter_loop(module, args, transport, options \\ []) do
    unless is_atom(module) and Code.ensure_loaded?(module) and
             function_exported?(module, :init, 2),
           do:
             raise(
               ArgumentError,
               "expected a module with callbacks of MQTT.Server, got: #{inspect(module)}"
             )

    unless is_struct(transport, MQTT.Transport),
      do:
        raise(
          ArgumentError,
          "expected what MQTT.Transport.new/2 gives, got: #{inspect(transport)}"
        )

    Connection.enter_loop(module, args, transport, Options.new(module, options))
  end

  @doc """
  Ends a connection: `c:terminate/2` is called with `:normal`, and what was published before is sent.

  Waits until the process has ended, and exits the caller if it does not exist.
  """
  @spec stop(pid) :: :ok
  def stop(pid), do: :gen_server.stop(pid)

  @doc "As `stop/1`, with a reason, and at most `timeout` milliseconds to wait."
  @spec stop(pid, reason :: term, timeout) :: :ok
  def stop(pid, reason, timeout), do: :gen_server.stop(pid, reason, timeout)
end
