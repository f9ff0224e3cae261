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
  | `:normal` | The client sent DISCONNECT, or `stop/1` was called. |
  | `{:shutdown, :closed}` | The client closed the connection, or it broke. |
  | `{:shutdown, :keep_alive_timeout}` | Nothing came for one and a half times the Keep Alive [MQTT-3.1.2-24]. |
  | `{:shutdown, :send_timeout}` | The client read nothing for `:send_timeout` milliseconds. |
  | `{:shutdown, :send_queue_full}` | It read too slowly, with `slow_peer: :close`. |
  | `{:shutdown, {:protocol_error, which}}` | The client broke the protocol; `which` is an atom such as `:invalid_utf8`. |
  | `{:shutdown, {:socket_error, reason}}` | The operating system reported an error. |
  | `:shutdown` | The supervisor ended it; the process has to trap exits, as those of a `MQTT.Listener` do. |
  | any other | A callback stopped with it, or raised. |

  Nothing that a client does causes a crash report; a callback that raises causes one.

  ## Actions

  A callback may return one action or a list of them, which are carried out in order:

    * `{:publish, topic, message}` and `{:publish, topic, message, %{qos: 0, retain: false}}` send a
      message to the client. Topic and message are iodata. QoS 1 and 2 are not supported yet.
    * `{:reply, from, reply}` answers a call.

  An action that cannot be carried out (a topic with a wildcard, a message over 256 MiB) raises in
  the handler's process.

  ## Options

  `enter_loop/4` and `MQTT.Listener` take these:

  #{MQTT.Options.docs(MQTT.Server.Options.schema())}
  """

  alias MQTT.Server.{Connection, Options}

  @typedoc """
  What the client's CONNECT said, and how it came.

  `:username`, `:password` and `:last_will` are there if the client sent them.
  `:protocol_version` is 3 for MQTT 3.1 and 4 for 3.1.1; `:keep_alive` is in seconds. `:peer` and
  `:local` are addresses as of `:inet.peername/1`, or `nil` if the client is gone already.
  `:peer_certificate` is the client's certificate (DER), if it has shown one.
  """
  @type init_parameters :: %{
          required(:protocol) => String.t(),
          required(:protocol_version) => 3 | 4,
          required(:clean_session) => boolean,
          required(:keep_alive) => 0..65_535,
          required(:client_id) => String.t(),
          required(:transport) => :tcp | :ssl,
          required(:peer) => {:inet.ip_address(), :inet.port_number()} | nil,
          required(:local) => {:inet.ip_address(), :inet.port_number()} | nil,
          optional(:peer_certificate) => binary,
          optional(:username) => String.t(),
          optional(:password) => binary,
          optional(:last_will) => %{
            topic: iodata,
            message: iodata,
            qos: :mqtt_packet.qos(),
            retain: boolean
          }
        }

  @typedoc """
  Why a client is rejected, which its CONNACK tells it as the return code 1 to 5, or as the number
  given. Any other reason closes the connection without a CONNACK [MQTT-3.2.2-6], and the process
  exits with it.
  """
  @type init_stop_reason ::
          :unacceptable_protocol
          | :identifier_rejected
          | :server_unavailable
          | :bad_username_or_password
          | :not_authorized
          | 6..255

  @typedoc "What a callback may have done, see the module's documentation."
  @type action ::
          {:publish, topic :: iodata, message :: iodata}
          | {:publish, topic :: iodata, message :: iodata,
             %{optional(:qos) => :mqtt_packet.qos(), optional(:retain) => boolean}}
          | {:reply, GenServer.from(), term}

  @doc """
  Decides about a client.

  `args` is what `enter_loop/3` or the listener's `:handler` was given. `{:ok, state}` accepts the
  client [MQTT-3.1.4-4]; `{:stop, reason}` rejects it with the return code of the reason and ends
  the process normally, without `c:terminate/2`.
  """
  @callback init(args :: any, params :: init_parameters) ::
              {:ok, state}
              | {:ok, state, action | [action]}
              | {:stop, reason :: init_stop_reason | term}
            when state: any

  @doc """
  A message from the client. `opts` has `:qos`, `:retain` and `:dup`.

  Messages longer than 64 bytes are parts of what was read at once; `:binary.copy/1` one that is
  kept for long.
  """
  @callback handle_publish(topic :: String.t(), message :: binary, opts :: map, state) ::
              {:ok, state}
              | {:ok, state, action | [action]}
              | {:stop, reason :: term}
            when state: any

  @doc """
  The client wants messages whose topic matches the filter, with at most this QoS. Returns the QoS
  that is granted, or `:failed`; SUBACK says it [MQTT-3.8.4-5].
  """
  @callback handle_subscribe(topic :: String.t(), qos :: :mqtt_packet.qos(), state) ::
              {:ok, :mqtt_packet.qos() | :failed, state}
              | {:ok, :mqtt_packet.qos() | :failed, state, action | [action]}
              | {:stop, reason :: term}
            when state: any

  @doc "The client ends its subscription to the filter; UNSUBACK follows [MQTT-3.10.4-4]."
  @callback handle_unsubscribe(topic :: String.t(), state) ::
              {:ok, state}
              | {:ok, state, action | [action]}
              | {:stop, reason :: term}
            when state: any

  @doc "A `GenServer.call/3` to the process, to be answered with `{:reply, from, reply}`."
  @callback handle_call(call :: any, from :: GenServer.from(), state) ::
              {:ok, state}
              | {:ok, state, action | [action]}
              | {:stop, reason :: term}
            when state: any

  @doc "A `GenServer.cast/2` to the process."
  @callback handle_cast(cast :: any, state) ::
              {:ok, state}
              | {:ok, state, action | [action]}
              | {:stop, reason :: term}
            when state: any

  @doc "Any other message to the process."
  @callback handle_info(info :: any, state) ::
              {:ok, state}
              | {:ok, state, action | [action]}
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

  @doc """
  Turns the calling process into the connection of an accepted socket, and never returns.

  The process must have been started by `:proc_lib`, as all processes of OTP behaviours and of
  `Task` are, and must own the socket. `args` goes to `c:init/2`. The options are those of the
  module's documentation; a wrong one raises an `ArgumentError`.

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
    Connection.enter_loop(module, args, transport, Options.new(options))
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
