defmodule MQTT.Broker.Handler do
  @moduledoc """
  Rules of one's own for a `MQTT.Broker`. Every callback is optional, and looked up once, when the broker
  starts.

      defmodule Rules do
        @behaviour MQTT.Broker.Handler

        @impl true
        def authenticate(%{username: "roger", password: "secret"}, _args), do: :ok
        def authenticate(_client, _args), do: {:error, :bad_user_name_or_password}

        @impl true
        def authorize_subscribe(client, filter, _options, _args) do
          if String.starts_with?(filter, "users/\#{client.username}/"), do: :ok, else: {:error, :not_authorized}
        end
      end

      children = [{MQTT.Broker, port: 1883, handler: Rules}]

  `args` is what the option `:handler` has beside the module, `[]` by default. The callbacks run in
  the process of the client's connection, which one that raises ends, as does one that returns something else than is said here; those for a will that has waited, or that of a connection that was killed, in another.

  What a client says of itself may be anything: a client identifier of `+` or `$share`, before which `authenticate/2` or a level of
  one's own (`users/`) has to stand, if filters are compared with it.

  Where neither `c:authorize_publish/3` nor `c:handle_publish/3` is defined, messages are routed without a term being made
  of them, and without the process of a publisher that does not flood. Otherwise each message calls them. And where neither `c:authorize_delivery/3` nor `c:message_events/1` is, messages reach a subscriber
  without its process; otherwise each goes through it.
  """

  alias MQTT.Message

  @typedoc """
  The client: what `c:MQTT.Server.init/2` gets. In every callback but `c:authenticate/2` there is no password and no `:authentication_data` any more, and
  `:data` has what that callback has put there.
  """
  @type client :: map

  @typedoc """
  A name or code of `MQTT.Reason`, or `{reason, properties}`; what refuses a client has a code of 0x80 or more. Clients of earlier versions than MQTT 5.0 are told
  as much of it as these have.
  """
  @type reason :: MQTT.Server.reason()

  @doc """
  Whether a client is let in: `:ok`, or `{:ok, data}`, which other callbacks find in the client; an
  error is told to the client. A session belongs to the user who began it, and so do the lines of an ACL file: that is the user name of CONNECT, which is
  therefore to be checked, or with `{:ok, data, user}` the user that is named here, a string. It is called instead of the password file and of the rule for anonymous clients.
  """
  @callback authenticate(client, args :: term) ::
              :ok
              | {:ok, data :: term}
              | {:ok, data :: term, user :: String.t()}
              | {:continue, properties :: map, data :: term}
              | {:error, reason}

  @doc """
  A step of an enhanced authentication (MQTT 5.0): the properties of the client's AUTH, with its `:reason`,
  `:continue_authentication` or, of a client that is connected, `:re_authenticate`. Without this callback, a client that
  names an Authentication Method is refused. Such a client may have no user name, so `{:ok, data, user}` says who it is; another one cannot be
  re-authenticated. `{:continue, properties, data}`, here or from `c:authenticate/2`, asks for one more.
  """
  @callback handle_auth(client, properties :: map, args :: term) ::
              :ok
              | {:ok, data :: term}
              | {:ok, data :: term, user :: String.t()}
              | {:continue, properties :: map, data :: term}
              | {:error, reason}

  @doc "Whether a client may publish a message, which may be its will."
  @callback authorize_publish(client, Message.t(), args :: term) :: :ok | {:error, reason}

  @doc """
  Whether a client may subscribe to a filter, which of a shared subscription (`:shared` in the options, and the filter begins so) is
  `$share/group/filter`. The options are those of `c:MQTT.Server.handle_subscribe/4`; `{:ok, qos}` grants a lower QoS.
  """
  @callback authorize_subscribe(client, filter :: String.t(), options :: map, args :: term) ::
              :ok | {:ok, qos :: 0..2} | {:error, reason}

  @doc """
  A message that a client publishes: it goes on as it is or changed, is dropped without the
  client knowing, or is refused, which a client of MQTT 5.0 is told at QoS 1 and 2.
  """
  @callback handle_publish(client, Message.t(), args :: term) ::
              :ok | {:ok, Message.t()} | :drop | {:error, reason}

  @doc """
  Whether a client may still get a message, asked when it is about to be sent: what has waited, or was subscribed to, may not be the client's any more. One
  that was sent over an earlier connection and not acknowledged is sent again without that.
  """
  @callback authorize_delivery(client, Message.t(), args :: term) :: :ok | {:error, reason}

  @doc """
  Of which messages `c:handle_event/3` is told as well, which each of them then costs; called once, when the broker starts. They are
  `:delivered`, `:dropped` and `:retained`.
  """
  @callback message_events(args :: term) :: [:delivered | :dropped | :retained]

  @doc "Something has happened to a client."
  @callback handle_event(event, client, args :: term) :: term

  @typedoc """
  What happens to a client:

    * it is let in, with a session that is new, its `:resumed` one, or, with an earlier one `:discarded`, one that begins anew; its connection
      before, if there is one, ends with `:session_taken_over`;
    * it is `:refused`, by `c:authenticate/2` or `c:handle_auth/3`, or for its password, where it comes from, a session of another user, or too many sessions, or because it has come back meanwhile over another connection;
    * it has subscribed or unsubscribed;
    * its will was published, if the rules let it;
    * if `c:message_events/1` asks for it, a message was `:delivered` to it: acknowledged over the connection that it was sent by, or one of QoS 0 written;
    * one was `:dropped`: a reason of `c:authorize_delivery/3`, `:queue_full`, `:expired`, `:packet_too_large`, `:discarded` with its session, `:not_authorized` where it had waited of a subscription that the ACL file allows no more,
      or `{:refused, reason}` by the client. What was dropped while it was away is told when it is back; one of QoS 0 is not kept for it, which is not told. At most 64
      messages, or 64 KiB of them, wait to be told, of further ones `info/2` of `MQTT.Broker` has the number only;
    * one that it published was `:retained`, or, if it has no payload, what was retained was removed;
    * its connection has ended, with a reason of `c:MQTT.Server.terminate/2`, or `:killed`, as happens to one that is stuck in a callback
      while its client has come back;
    * its session has ended.

  With the last one and `:killed` the client is a map with its `:client_id` only, and the process one that was started for that: what happens to a client
  that is back already may be told before. One that is killed while it is being let in may have one of `:connected` and `:killed` without the other.
  """
  @type event ::
          {:connected, :new | :resumed | :discarded}
          | {:refused, MQTT.Server.reason()}
          | {:subscribed, filter :: String.t(), options :: map}
          | {:unsubscribed, filter :: String.t()}
          | {:will_published, Message.t()}
          | {:delivered, Message.t()}
          | {:dropped, Message.t(), reason :: term}
          | {:retained, Message.t()}
          | {:disconnected, reason :: term}
          | :session_ended

  @optional_callbacks authenticate: 2,
                      handle_auth: 3,
                      authorize_publish: 3,
                      authorize_subscribe: 4,
                      handle_publish: 3,
                      authorize_delivery: 3,
                      message_events: 1,
                      handle_event: 3

  @typedoc false
  @type hooks :: %{
          :args => term,
          :events => [:delivered | :dropped | :retained],
          optional(atom) => function
        }

  @callbacks [
    authenticate: 2,
    handle_auth: 3,
    authorize_publish: 3,
    authorize_subscribe: 4,
    handle_publish: 3,
    authorize_delivery: 3,
    handle_event: 3
  ]

  @doc false
  @spec any?(module) :: boolean
  def any?(module),
    do: Enum.any?(@callbacks, fn {name, arity} -> function_exported?(module, name, arity) end)

  @doc false
  @spec hooks({module, term} | nil) :: hooks
  def hooks(nil), do: %{args: [], events: []}

  def hooks({module, args}) do
    for {name, arity} <- @callbacks,
        function_exported?(module, name, arity),
        into: %{args: args, events: events(module, args)},
        do: {name, Function.capture(module, name, arity)}
  end

  # Those that nobody hears are not wanted.
  defp events(module, args) do
    if function_exported?(module, :message_events, 1) and
         function_exported?(module, :handle_event, 3) do
      events = module.message_events(args)

      unless is_list(events) and events -- [:delivered, :dropped, :retained] == [] do
        raise ArgumentError,
              "message_events/1 of #{inspect(module)} must give a list of :delivered, :dropped and :retained, got: #{inspect(events)}"
      end

      events
    else
      []
    end
  end
end
